// Package jobfile is jobs as files: JSON, YAML and crontabs.
//
// It does not say that a job is good, only that the file says what it says: give
// Options.Check cron.Job's Check for the rest. It reads strictly. A field that
// there is not, a field given twice, a length of time without a unit: each is
// refused with the place, and all that is wrong is said at once.
//
// JSON is one job, an array of them, or one after another. YAML is documents,
// each of them a job, a list of jobs, or a mapping with the list as its jobs.
// Text is taken as it is written: `no`, 0777, 2026-01-01 and 1e3 are not turned
// into something else where text belongs, nor is on, which is the name of a
// field; Write puts that in quotes, for readers of YAML 1.1. What only anchors are kept in may lie beside jobs, under a name that
// begins with x-.
//
// A crontab is not of conch, so it is read as cron reads it, and what conch does
// otherwise is said in notes: see ReadCrontab.
package jobfile
