// Preloaded into an Azurite that keeps its data in memory: lets it forget nothing while it runs.
//
// Every ten minutes Azurite looks for content that no blob refers to any more and deletes it piece by piece, in a time that grows
// with the square of their number, and answers nobody meanwhile: after 8,000 uploads to 2,000 names it was silent for 137 seconds.
// What is in memory goes with the process anyway.
"use strict";

const LONGEST_TIMER_MILLISECONDS = 2 ** 31 - 1; // 24 days; node takes more than that for 1 ms

require("azurite/dist/src/blob/utils/constants").DEFAULT_GC_INTERVAL_MS = LONGEST_TIMER_MILLISECONDS;
