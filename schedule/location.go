package schedule

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

// The zone database is embedded rather than read from the system, so that the nodes of a cluster that run one binary agree
// on every instant. The file is Go's own lib/time/zoneinfo.zip; its data is in the public domain.
//
//go:generate sh -c "cp \"$(go env GOROOT)/lib/time/zoneinfo.zip\" zoneinfo.zip"
//go:embed zoneinfo.zip
var zoneinfo []byte

// zones holds each location once it has been loaded. Locations are immutable and their number is bounded by the
// database; a hundred thousand tasks in one zone must share one table of some kilobytes.
var zones sync.Map // name -> *time.Location

// database indexes the embedded files by name.
var database = sync.OnceValue(func() *zip.Reader {
	r, err := zip.NewReader(bytes.NewReader(zoneinfo), int64(len(zoneinfo)))
	if err != nil {
		panic("schedule: embedded zone database: " + err.Error()) // a broken build
	}
	return r
})

// LoadLocation gives the zone of an IANA name such as "Europe/Berlin". "UTC" and the empty name are UTC, "Local" is the
// process's own zone. The data comes from where the environment variable ZONEINFO points, a directory or a zip file, and
// from the embedded database for what is not there. Two calls with one name give the same pointer. The error is a *ParseError.
func LoadLocation(name string) (*time.Location, error) {
	switch name {
	case "", "UTC":
		return time.UTC, nil
	case "Local":
		return time.Local, nil
	}
	override := os.Getenv("ZONEINFO")
	key := override + "\x00" + name
	if loc, ok := zones.Load(key); ok {
		return loc.(*time.Location), nil
	}
	data, err := zoneData(override, name)
	if err != nil {
		return nil, unknownZone(name)
	}
	loc, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil, &ParseError{Expr: name, Field: "time zone", Len: len(name), Found: clip(name), Allowed: "a zone whose data can be read"}
	}
	shared, _ := zones.LoadOrStore(key, loc)
	return shared.(*time.Location), nil
}

var errZoneName = errors.New("not a zone's name")

func zoneData(override, name string) ([]byte, error) {
	if !zoneName(name) {
		return nil, errZoneName
	}
	if override != "" {
		if data, err := overrideData(override, name); err == nil {
			return data, nil
		}
	}
	return fs.ReadFile(database(), name)
}

func overrideData(override, name string) ([]byte, error) {
	if !strings.HasSuffix(override, ".zip") {
		return os.ReadFile(path.Join(override, name))
	}
	r, err := zip.OpenReader(override)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	const limit = 1 << 20
	return io.ReadAll(io.LimitReader(f, limit))
}

// zoneName keeps a name inside the database: no absolute path, no climbing out of it.
func zoneName(name string) bool {
	if len(name) > 64 || !fs.ValidPath(name) || name == "." {
		return false
	}
	for i := range len(name) {
		switch b := name[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', strings.IndexByte("/_+-", b) >= 0:
		default:
			return false
		}
	}
	return true
}

// ZoneNames lists the names of the embedded database in order.
func ZoneNames() []string {
	files := database().File
	names := make([]string, 0, len(files))
	for _, f := range files {
		if !strings.HasSuffix(f.Name, "/") {
			names = append(names, f.Name)
		}
	}
	return names
}

func unknownZone(name string) *ParseError {
	e := &ParseError{
		Expr: name, Field: "time zone", Len: len(name), Found: clip(name),
		Allowed: "a name of the IANA database such as Europe/Berlin, UTC, or Local",
	}
	if near, ok := nearestZone(name); ok {
		e.Hint = "did you mean " + near + "?"
	}
	return e
}

// nearestZone looks for the whole name first, then for the city alone.
func nearestZone(name string) (string, bool) {
	names := ZoneNames()
	if near, ok := Near(name, names); ok {
		return near, true
	}
	cities := make([]string, len(names))
	for i, n := range names {
		cities[i] = path.Base(n)
	}
	city := strings.ReplaceAll(path.Base(strings.TrimSpace(name)), " ", "_")
	near, ok := Near(city, cities)
	if !ok || len(city) < 4 {
		return "", false
	}
	for i, c := range cities {
		if c == near && strings.Contains(names[i], "/") {
			return names[i], true
		}
	}
	return "", false
}
