// Where the site's other files are: the build names them by their content and tells this script.
const here = document.currentScript?.src ?? location.href;
const names = JSON.parse(document.currentScript?.dataset.assets ?? "{}");

/** The address of an asset, such as "plotly". */
export function asset(name) {
  if (!(name in names)) throw new Error(`no asset is called ${name}`);
  return new URL(names[name], here).href;
}
