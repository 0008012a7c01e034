package schedule

import "io/fs"

// EmbeddedZone gives the raw data of a zone.
func EmbeddedZone(name string) ([]byte, error) { return fs.ReadFile(database(), name) }
