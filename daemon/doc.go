// Package daemon builds one agent: it makes every part in order, runs them, and
// stops them in reverse. It maps the configuration to each part's own Config and
// plugs the parts' interfaces together.
//
// It contains no policy and no protocol of its own: what a part decides is
// decided there.
package daemon
