//go:build !linux

package workload

import (
	"context"
	"errors"
)

// Run needs memfd_create and userfaultfd.
func Run(context.Context, Config) error {
	return errors.New("workload: a workload process runs on Linux only")
}
