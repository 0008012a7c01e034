// Package harness is what the tests with real processes have in common: building the programs, running, killing and starting them
// again, and reading what history says. It is imported by tests only.
package harness
