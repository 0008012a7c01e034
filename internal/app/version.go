package app

import "runtime/debug"

// release is set when a release is built: -ldflags "-X github.com/rota-dev/rota/internal/app.release=v1.2.3".
var release string

// Version is the version of this program.
func Version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
