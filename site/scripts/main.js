// What every page of the site runs. One module a feature; each starts by itself.
import "./theme-storage.js";
import "./buttons.js";
import "./copy.js";
import "./disclosure.js";
import "./exercise-index.js";
import "./figures.js";
import "./front.js";
import "./menus.js";
import "./moved.js";
import "./offline.js";
import "./print.js";
import "./progress.js";
import "./quiz.js";
import "./scrolling.js";
import "./search.js";
import "./solutions.js";
import "./live.js";
