// Package config owns the HCL configuration of one host: its keys, defaults,
// checks and which of them a reload may change.
//
// It starts nothing and imports no package of placed: daemon maps its blocks to
// the Config struct of each package.
package config
