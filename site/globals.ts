// What scripts of the site, and the data that they load, leave at the window for one another.

import type { Pages } from "./scripts/finder.js";
import type { Live } from "./scripts/pages/live.js";
import type { Searching } from "./scripts/pages/search.js";
import type { Feature, Part } from "./scripts/parts.js";

declare global {
  interface Window {
    llmbook?: {
      live?: Live;
      parts?: { features: Feature[]; there: Part[] };
      search?: Searching;
      /** Called by the script that brings a solution. */
      solution?: (label: string, markup: string) => void;
      solutions?: () => Promise<unknown>;
    };
    llmbookExercises: Record<string, string[]>;
    llmbookSearchIndex: Pages;
    llmbookSearchSolutions: Pages;
    /** The library, which has no types of its own. */
    Plotly: any;
  }

  interface Navigator {
    /** Only Chromium's browsers tell it. */
    connection?: { saveData: boolean };
  }
}
