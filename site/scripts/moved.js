// Goes to where an exercise is now, when the page's address is one that it had before: the build has
// left an element with the old ids and a link there.

import { target } from "./places.js";

function follow() {
  const link = target()?.closest(".moved-exercise")?.querySelector("a");
  // In place of the old address, so that the way back does not lead here again.
  if (link) location.replace(new URL(location.hash, link.href));
}

addEventListener("DOMContentLoaded", follow);
addEventListener("hashchange", follow);
