// Package traces owns the recorded load that ships with placed: an excerpt of
// the Azure Public Dataset (see README.md for source, licence and attribution).
// It reads nothing but its own file and interprets none of it.
package traces

import _ "embed"

// AzureV1 is a gzipped CSV: a head line of names, then one row per five minutes
// of mean CPU in percent, 28 days of 36 VMs.
//
//go:embed azure-v1-excerpt.csv.gz
var AzureV1 []byte
