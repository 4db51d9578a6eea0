// Package calendar owns the way from rules and files to intervals: it expands
// recurrence rules (RRULE) and iCalendar files (ICS), with IANA time zones, into
// the calendar entries of the coming days.
//
// It does not say what an entry does to a forecast (predictor.Calendar does) and
// does not write the books: the entries of a source are a value, proposed anew
// when they change.
package calendar
