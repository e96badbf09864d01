// Goes to where an exercise is now, when the page's address is one that it had before: the build has
// left an element with the old ids and a link there.

function follow() {
  const old = document.getElementById(location.hash.slice(1));
  const link = old?.closest(".moved-exercise")?.querySelector("a");
  // In place of the old address, so that the way back does not lead here again.
  if (link) location.replace(new URL(location.hash, link.href));
}

addEventListener("DOMContentLoaded", follow);
addEventListener("hashchange", follow);
