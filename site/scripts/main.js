// What every page of the site runs. One module a feature; each starts by itself.
import "./disclosure.js";
import "./figures.js";
import "./formulas.js";
