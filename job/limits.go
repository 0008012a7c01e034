package job

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Limits bound what one attempt of a run may use of its machine; the zero value of a field is no limit.
// Memory, CPU, CPUWeight and Processes count for the whole tree of the attempt, the others for each of its processes. A node that
// can't enforce one refuses to start the run.
type Limits struct {
	Memory    Size    `json:"memory,omitempty"`     // bytes
	CPU       float64 `json:"cpu,omitempty"`        // cores: 1.5 is one and a half
	CPUWeight int     `json:"cpu_weight,omitempty"` // its share where the cores are short, from 1 to 10000; others have 100
	Processes int     `json:"processes,omitempty"`  // processes and threads at once
	OpenFiles int     `json:"open_files,omitempty"` // descriptors of a process
	FileSize  Size    `json:"file_size,omitempty"`  // bytes of a file that it writes
	Nice      int     `json:"nice,omitempty"`       // from -20 to 19; below 0 only for an agent that may
	Umask     Umask   `json:"umask,omitempty"`      // the rights that new files do not get; empty: the agent's
}

// Bounds of limits. Less would end a program before it says why.
const (
	MinMemory = 1 << 20 // bytes
	minCPU    = 0.01    // the kernel takes no less
	maxCPU    = 10_000  // cores
	maxCount  = 1 << 22 // what the kernel numbers processes up to
	maxFiles  = 1 << 30 // the kernel's own bound of nr_open
	maxSize   = 1 << 60 // bytes
	minFiles  = 3       // stdin, stdout, stderr
	maxWeight = 10_000
)

// IsZero tells whether nothing is limited.
func (l Limits) IsZero() bool { return l == Limits{} }

// Names lists the limits that are set by their names in task files, in their order there.
func (l Limits) Names() []string {
	all := []struct {
		name string
		set  bool
	}{
		{"memory", l.Memory != 0}, {"cpu", l.CPU != 0}, {"cpu_weight", l.CPUWeight != 0}, {"processes", l.Processes != 0},
		{"open_files", l.OpenFiles != 0}, {"file_size", l.FileSize != 0}, {"nice", l.Nice != 0}, {"umask", l.Umask != ""},
	}
	var names []string
	for _, n := range all {
		if n.set {
			names = append(names, n.name)
		}
	}
	return names
}

// Valid reports every fault of the limits in one error.
func (l Limits) Valid() error {
	var f Faults
	l.check(&f, "")
	return f.Err("limits are not valid")
}

// check adds every fault; prefix is the path of the limits with the dot that follows it.
func (l Limits) check(f *Faults, prefix string) {
	if l.Memory != 0 && (l.Memory < MinMemory || l.Memory > maxSize) {
		f.AddHint(prefix+"memory", "write 64MiB, 2GiB or the like", "memory %s is not between 1MiB and 1EiB", l.Memory)
	}
	if l.CPU != 0 && (math.IsNaN(l.CPU) || l.CPU < minCPU || l.CPU > maxCPU) {
		f.AddHint(prefix+"cpu", "write a number of cores: 0.5 is half of one", "cpu %v is not between %v and %v", l.CPU, minCPU, maxCPU)
	}
	for _, n := range [...]struct {
		name       string
		value      int
		from, upTo int
	}{
		{"cpu_weight", l.CPUWeight, 1, maxWeight}, {"processes", l.Processes, 1, maxCount}, {"open_files", l.OpenFiles, minFiles, maxFiles},
		{"nice", l.Nice, -20, 19},
	} {
		if n.value != 0 && (n.value < n.from || n.value > n.upTo) {
			f.Add(prefix+n.name, "%s %d is not between %d and %d", n.name, n.value, n.from, n.upTo)
		}
	}
	if l.FileSize < 0 || l.FileSize > maxSize {
		f.Add(prefix+"file_size", "file_size %s is not between 1 byte and 1EiB", l.FileSize)
	}
	if _, err := parseUmask(string(l.Umask)); err != nil {
		f.AddError(prefix+"umask", err)
	}
}

// Size is a number of bytes, written as text: 512MiB, 1.5GiB, 10MB, 4096.
type Size int64

// sizeUnits are the units by their letter: the binary ones, and with base 1000 the decimal ones.
const sizeUnits = "KMGTP"

// String is the shortest exact form: a whole number of the largest binary unit, or else of bytes.
func (s Size) String() string {
	n, unit := int64(s), -1
	for n != 0 && n%1024 == 0 && unit < len(sizeUnits)-1 {
		n, unit = n/1024, unit+1
	}
	if unit < 0 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + sizeUnits[unit:unit+1] + "iB"
}

// ParseSize reads a number of bytes with or without a unit: B, KiB, MiB, GiB, TiB, PiB of 1024, KB, MB, GB, TB, PB of 1000, in letters of
// either case and with or without a blank before them. Fractions of bytes are cut off.
func ParseSize(text string) (Size, error) {
	bad := func(hint string) (Size, error) {
		return 0, Errorf(CodeInvalid, "%.40q is not a size", text).WithHint("%s", hint)
	}
	digits := len(text) - len(strings.TrimLeft(text, "0123456789."))
	number, unit := text[:digits], strings.ToLower(strings.TrimPrefix(text[digits:], " "))
	factor := 1.0
	if unit != "" && unit != "b" {
		power := strings.IndexByte(strings.ToLower(sizeUnits), unit[0]) + 1
		base := map[string]float64{"ib": 1024, "b": 1000}[unit[1:]]
		if power == 0 || base == 0 {
			return bad("write a number with a unit, such as 512MiB, 2GiB or 10MB, or a number of bytes")
		}
		factor = math.Pow(base, float64(power))
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n > math.MaxInt64/int64(factor) {
			return bad("it is more than there is")
		}
		return Size(n * int64(factor)), nil
	}
	n, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil || number == ".":
		return bad("write a number with a unit, such as 512MiB, 2GiB or 10MB, or a number of bytes")
	case n*factor >= math.MaxInt64:
		return bad("it is more than there is")
	}
	return Size(n * factor), nil
}

// MarshalText writes the form of String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what [ParseSize] reads.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := ParseSize(string(b))
	if err == nil {
		*s = v
	}
	return err
}

// UnmarshalJSON reads a text, or a number of bytes.
func (s *Size) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	return s.UnmarshalText([]byte(text))
}

// Umask is a mask of rights in octal digits, canonically four of them: 0027.
type Umask string

// Mode is the mask as a number; ok is false where there is none.
func (u Umask) Mode() (mode int, ok bool) {
	mode, err := parseUmask(string(u))
	return mode, err == nil && u != ""
}

func parseUmask(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 16)
	if err != nil || n > 0o777 {
		return 0, Errorf(CodeInvalid, "%.20q is not a umask", s).WithHint(`write octal digits up to 0777, such as "0027"`)
	}
	return int(n), nil
}

// UnmarshalText reads octal digits.
func (u *Umask) UnmarshalText(b []byte) error {
	n, err := parseUmask(string(b))
	if err != nil {
		return err
	}
	*u = ""
	if len(b) > 0 {
		*u = Umask(fmt.Sprintf("%04o", n))
	}
	return nil
}

// UnmarshalJSON reads a text, or a number whose digits are octal.
func (u *Umask) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	return u.UnmarshalText([]byte(text))
}

// EndedBy is the cause of the end of an execution, which its outcome alone does not tell: a failed one may have exited or have been killed by
// the kernel for want of memory. Reasons are for people, this is for programs.
type EndedBy string

// The causes. Where nothing was executed there is none.
const (
	EndedByExit    EndedBy = "exit"    // its main process exited, with whatever status
	EndedBySignal  EndedBy = "signal"  // a signal that did not come from Rota
	EndedByTimeout EndedBy = "timeout" // Rota, for its time was over
	EndedByKill    EndedBy = "killed"  // Rota, for somebody or something asked for it: the reason says who
	EndedByOOM     EndedBy = "oom"     // the kernel, for memory was short: within its own limit, or on the machine
	EndedByLoss    EndedBy = "lost"    // nobody saw how
)
