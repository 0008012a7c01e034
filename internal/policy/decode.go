package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/rota-dev/rota/job"
)

// maxFile is the most bytes that a policy may have.
const maxFile = 1 << 20

// Parse reads a policy; file is its name in messages. All faults come in one error of [job.CodeInvalid], each with its
// line and column. An empty document allows everything.
func Parse(file string, data []byte) (*Policy, error) {
	d := &decoder{file: file, policy: &Policy{File: file}}
	if root := d.root(data); root != nil {
		d.object(root, "", map[string]func(*yaml.Node){
			"users": d.users, "commands": d.commands, "dirs": d.dirs, "shell": d.shell, "env": d.env, "http": d.http, "ssh": d.ssh,
			"handlers": d.handlers, "timeout": d.timeout, "output": d.output, "limits": d.limits,
			"max_runs": d.maxRuns,
		})
	}
	if err := d.faults.Err(""); err != nil {
		return nil, err
	}
	if deny := d.policy.DenyEnv; d.policy.Commands.Only && (deny == nil || len(deny) > 0) {
		d.policy.DenyEnv = slices.Concat(dangerous, deny) // a denial more never allows anything
	}
	return d.policy, nil
}

// decoder reads a document and notes every fault at its place.
type decoder struct {
	file   string
	policy *Policy
	faults job.Faults
}

func (d *decoder) fault(n *yaml.Node, path, hint, format string, args ...any) {
	d.faults.Fields = append(d.faults.Fields, job.FieldError{
		File: d.file, Line: n.Line, Column: n.Column, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// root is the one object of the document; nil where there is none, or it can't be read.
func (d *decoder) root(data []byte) *yaml.Node {
	switch {
	case len(data) > maxFile:
		d.fault(&yaml.Node{}, "", "", "it has more than %d bytes", maxFile)
		return nil
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		d.fault(&yaml.Node{}, "", "save it as UTF-8 text", "it is not text")
		return nil
	}
	l, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		d.broken(err)
		return nil
	}
	var first *yaml.Node
	for {
		n := &yaml.Node{}
		switch err := l.Load(n); {
		case errors.Is(err, io.EOF):
			return first
		case err != nil:
			d.broken(err)
			return nil
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
			n = n.Content[0]
		}
		switch {
		case n.Kind == 0 || n.Tag == "!!null":
		case first != nil:
			d.fault(n, "", "leave one", "there is a second document, and a node has one policy")
			return nil
		default:
			first = n
		}
	}
}

// broken notes what is no YAML.
func (d *decoder) broken(err error) {
	n := &yaml.Node{}
	text := err.Error()
	var e *yaml.LoadError
	if errors.As(err, &e) {
		n.Line, n.Column, text = e.Mark.Line, e.Mark.Column, e.Message
	}
	d.fault(n, "", "", "it is not YAML: %s", text)
}

// object reads a mapping with known keys.
func (d *decoder) object(n *yaml.Node, path string, keys map[string]func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "write "+strings.Join(slices.Sorted(maps.Keys(keys)), ": …, ")+": …", "want an object")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		read, known := keys[k.Value]
		switch {
		case seen[k.Value]:
			d.fault(k, join(path, k.Value), "leave one", "it is there twice")
		case !known:
			hint := "there are " + strings.Join(slices.Sorted(maps.Keys(keys)), ", ")
			if near := job.Near(k.Value, slices.Sorted(maps.Keys(keys))); near != "" {
				hint = "did you mean " + near + "?"
			}
			d.fault(k, join(path, k.Value), hint, "unknown field")
		case v.Kind == yaml.AliasNode:
			d.fault(v, join(path, k.Value), "write it out", "a policy has no aliases")
		default:
			read(v)
		}
		seen[k.Value] = true
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// list reads a list of words, each of which check accepts.
func (d *decoder) list(path string, into *[]string, check func(string) (hint string, err error)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		items := []*yaml.Node{n} // one word is a list of one
		if n.Kind == yaml.SequenceNode {
			items = n.Content
		}
		*into = []string{}
		for _, it := range items {
			if it.Kind != yaml.ScalarNode || it.Tag == "!!null" || it.Value == "" {
				d.fault(it, path, "write a list of words, such as [a, b]; an empty one is []", "this is not a word")
				continue
			}
			if hint, err := check(it.Value); err != nil {
				d.fault(it, path, hint, "%v", err)
				continue
			}
			*into = append(*into, it.Value)
		}
	}
}

// rules are the keys of lists of patterns.
func (d *decoder) rules(path string, r *Rules, check func(string) (string, error)) map[string]func(*yaml.Node) {
	return map[string]func(*yaml.Node){
		"allow": func(n *yaml.Node) { r.Only = true; d.list(path+".allow", &r.Allow, check)(n) },
		"deny":  d.list(path+".deny", &r.Deny, check),
	}
}

// switched reads rules, or false, which allows nothing, or true, which allows all.
func (d *decoder) switched(n *yaml.Node, path string, r *Rules, check func(string) (string, error)) {
	if n.Tag == "!!bool" {
		r.Only = !d.bool(n, path)
		return
	}
	d.object(n, path, d.rules(path, r, check))
}

func (d *decoder) users(n *yaml.Node) {
	u := &d.policy.Users
	keys := d.rules("users", u, word)
	keys["default"] = func(n *yaml.Node) {
		if d.policy.DefaultUser = n.Value; n.Kind != yaml.ScalarNode || n.Value == "" {
			d.fault(n, "users.default", "write a login name, such as nobody", "this is not a user")
		}
	}
	d.object(n, "users", keys)
	if name := d.policy.DefaultUser; name != "" {
		if why := u.refuses([]string{name}, glob); why != "" {
			d.fault(n, "users.default", "name one that is allowed", "user %s %s", name, why)
		}
	}
}

func (d *decoder) commands(n *yaml.Node) {
	d.object(n, "commands", d.rules("commands", &d.policy.Commands, absolute))
}

func (d *decoder) dirs(n *yaml.Node) { d.object(n, "dirs", d.rules("dirs", &d.policy.Dirs, absolute)) }

func (d *decoder) env(n *yaml.Node) {
	d.object(n, "env", map[string]func(*yaml.Node){"deny": d.list("env.deny", &d.policy.DenyEnv, word)})
}

func (d *decoder) ssh(n *yaml.Node)      { d.switched(n, "ssh", &d.policy.SSH, word) }
func (d *decoder) handlers(n *yaml.Node) { d.switched(n, "handlers", &d.policy.Handlers, word) }
func (d *decoder) shell(n *yaml.Node)    { d.policy.NoShell = !d.bool(n, "shell") }

func (d *decoder) http(n *yaml.Node) {
	h := &d.policy.HTTP
	if n.Tag == "!!bool" {
		h.Off = !d.bool(n, "http")
		return
	}
	var allow, deny []string
	d.object(n, "http", map[string]func(*yaml.Node){
		"allow": func(n *yaml.Node) { h.Only = true; d.list("http.allow", &allow, network)(n) },
		"deny":  d.list("http.deny", &deny, network),
	})
	h.Allow, h.Deny = prefixes(allow), prefixes(deny)
}

func (d *decoder) timeout(n *yaml.Node) {
	t := &d.policy.Timeout
	d.object(n, "timeout", map[string]func(*yaml.Node){
		"max": d.duration("timeout.max", &t.Max), "default": d.duration("timeout.default", &t.Default),
	})
	if t.Max > 0 && t.Default > t.Max {
		d.fault(n, "timeout.default", "", "it is more than the most, %s", job.Duration(t.Max))
	}
}

func (d *decoder) output(n *yaml.Node) {
	o := &d.policy.Output
	d.object(n, "output", map[string]func(*yaml.Node){"max": d.size("output.max", &o.Max), "default": d.size("output.default", &o.Default)})
	if o.Max > 0 && o.Default > o.Max {
		d.fault(n, "output.default", "", "it is more than the most, %d bytes", o.Max)
	}
}

func (d *decoder) limits(n *yaml.Node) {
	l := &d.policy.Limits
	d.object(n, "limits", map[string]func(*yaml.Node){
		"max": func(n *yaml.Node) {
			d.bounds(n, "limits.max", &l.Max, map[string]func(*yaml.Node){})
		},
		"default": func(n *yaml.Node) {
			d.bounds(n, "limits.default", &l.Default, map[string]func(*yaml.Node){
				"nice":  d.number("limits.default.nice", &l.Default.Nice, -20, 19),
				"umask": d.umask("limits.default.umask", &l.Default.Umask),
			})
		},
	})
	if full := orElse(l.Default, l.Max); atMost(full, l.Max) != full {
		d.fault(n, "limits.default", "", "it is more than limits.max")
	}
}

// bounds reads limits. The keys are those besides the ones that a limit and its default have in common.
func (d *decoder) bounds(n *yaml.Node, path string, l *job.Limits, keys map[string]func(*yaml.Node)) {
	const most = 1 << 30
	keys["memory"] = d.size(path+".memory", (*int64)(&l.Memory))
	keys["file_size"] = d.size(path+".file_size", (*int64)(&l.FileSize))
	keys["processes"] = d.number(path+".processes", &l.Processes, 1, most)
	keys["open_files"] = d.number(path+".open_files", &l.OpenFiles, 3, most)
	keys["cpu_weight"] = d.number(path+".cpu_weight", &l.CPUWeight, 1, 10_000)
	keys["cpu"] = func(n *yaml.Node) {
		v, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || n.Tag != "!!int" && n.Tag != "!!float" {
			d.fault(n, path+".cpu", "write a number of cores: 0.5 is half of one", "%.40q is not a number", n.Value)
			return
		}
		l.CPU = v
	}
	before := len(d.faults.Fields)
	d.object(n, path, keys)
	if err := l.Valid(); err != nil && len(d.faults.Fields) == before {
		d.fault(n, path, "", "%v", err)
	}
}

func (d *decoder) umask(path string, into *job.Umask) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if err := into.UnmarshalText([]byte(n.Value)); n.Kind != yaml.ScalarNode || err != nil {
			d.fault(n, path, `write octal digits up to 0777, such as "0027"`, "%.20q is not a umask", n.Value)
		}
	}
}

func (d *decoder) number(path string, into *int, from, upTo int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := strconv.Atoi(n.Value)
		if n.Tag != "!!int" || err != nil || v < from || v > upTo {
			d.fault(n, path, "", "want a number from %d to %d", from, upTo)
			return
		}
		*into = v
	}
}

func (d *decoder) maxRuns(n *yaml.Node) {
	v, err := strconv.Atoi(n.Value)
	if n.Tag != "!!int" || err != nil || v < 1 {
		d.fault(n, "max_runs", "leave it out for any number", "want a number from 1")
		return
	}
	d.policy.MaxRuns = v
}

func (d *decoder) bool(n *yaml.Node, path string) bool {
	if n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
		d.fault(n, path, "", "want true or false")
	}
	return n.Value == "true"
}

func (d *decoder) duration(path string, into *time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := job.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || v <= 0 {
			d.fault(n, path, "write a number with its unit, such as 90s, 5m or 2h", "%.40q is not a duration", n.Value)
			return
		}
		*into = v.Std()
	}
}

func (d *decoder) size(path string, into *int64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := job.ParseSize(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || v <= 0 {
			d.fault(n, path, "write a number of bytes, or one with its unit, such as 64KiB or 2GiB", "%.40q is not a size", n.Value)
			return
		}
		*into = int64(v)
	}
}

// word accepts a pattern of a name.
func word(s string) (string, error) {
	if _, err := path.Match(s, ""); err != nil {
		return "* and ? stand for what they do in a shell, and \\ before them takes that away", fmt.Errorf("%q is not a pattern", s)
	}
	return "", nil
}

// absolute accepts a pattern of an absolute path.
func absolute(s string) (string, error) {
	if hint, err := word(s); err != nil {
		return hint, err
	}
	clean := path.Clean(s)
	if !path.IsAbs(s) || clean != s && clean+"/" != s {
		return "write it from /, without . and ..", fmt.Errorf("%q is not an absolute path", s)
	}
	return "", nil
}

// network accepts a network or an address.
func network(s string) (string, error) {
	if len(prefixes([]string{s})) == 0 {
		return "write it as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7", fmt.Errorf("%q is not a network", s)
	}
	return "", nil
}

func prefixes(list []string) (nets []netip.Prefix) {
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			nets = append(nets, p.Masked())
		} else if a, err := netip.ParseAddr(s); err == nil {
			nets = append(nets, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
	}
	return nets
}
