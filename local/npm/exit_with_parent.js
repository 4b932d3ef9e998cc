// Preloaded into a child process (`node --require`): ends it when its standard input closes.
//
// The parent holds the other end of that pipe, and the operating system closes it however the parent ends: by itself, by
// Ctrl-C or by SIGKILL. That works alike on Linux, macOS and Windows, which process groups and job objects do not.
"use strict";

const GRACE_MILLISECONDS = 5000;

function stop() {
  // A listener exists once the program is up and wants to close its files; before that there is nothing to close.
  if (!process.emit("SIGTERM")) process.exit(0);
  setTimeout(() => process.exit(0), GRACE_MILLISECONDS).unref();
}

process.stdin.once("end", stop).once("error", stop).resume();
