package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// way fills the values in of what the job runs instead of a command on the node; nil where that is all it runs.
func (j *Job) way(f *Faults, scope Scope) *Way {
	if j.HTTP == nil && j.SSH == nil && j.Handler == "" {
		return nil
	}
	w := &Way{HTTP: j.HTTP.clone(), SSH: j.SSH.clone(), Handler: j.Handler, Params: maps.Clone(scope.Params)}
	if h := w.HTTP; h != nil {
		h.Method = h.method()
		h.URL = fillText(f, "http.url", h.URL, scope, false)
		for _, k := range slices.Sorted(maps.Keys(h.Headers)) {
			h.Headers[k] = fillText(f, "http.headers"+entry(k), h.Headers[k], scope, false)
			checkHeaderValue(f, "http.headers"+entry(k), h.Headers[k])
		}
		h.Body = fillText(f, "http.body", h.Body, scope, false)
		if len(f.Fields) == 0 {
			checkURL(f, "http.url", h.URL)
		}
	}
	if s := w.SSH; s != nil {
		s.Host = fillText(f, "ssh.host", s.Host, scope, false)
		if len(f.Fields) == 0 {
			checkHost(f, "ssh.host", s.Host)
		}
	}
	if len(j.Input) > 0 {
		w.Input = fillInput(f, j.Input, scope)
	}
	return w
}

// fillInput fills in the values in the texts of a document.
func fillInput(f *Faults, input json.RawMessage, scope Scope) json.RawMessage {
	v, err := readInput(input)
	if err != nil {
		f.Add("input", "%v", err)
		return nil
	}
	v = mapTexts(v, "input", func(path, s string) string { return fillText(f, path, s, scope, false) })
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		f.Add("input", "%v", err)
		return nil
	}
	return bytes.TrimSpace(b.Bytes())
}

func readInput(input json.RawMessage) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(input))
	dec.UseNumber()
	err = dec.Decode(&v)
	return v, err
}

// mapTexts replaces the texts of a document, but for the names of its fields.
func mapTexts(v any, path string, change func(path, s string) string) any {
	switch v := v.(type) {
	case string:
		return change(path, v)
	case []any:
		for i := range v {
			v[i] = mapTexts(v[i], fmt.Sprintf("%s[%d]", path, i), change)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			v[k] = mapTexts(v[k], path+entry(k), change)
		}
	}
	return v
}

// inputTexts calls a function with every text of an input that may have values in it.
func inputTexts(input json.RawMessage, use func(path, s string)) {
	if v, err := readInput(input); err == nil && len(input) > 0 {
		mapTexts(v, "input", func(path, s string) string {
			use(path, s)
			return s
		})
	}
}

func checkURL(f *Faults, path, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		f.AddHint(path, "write it such as https://example.org/path", "it is no URL")
	case u.Scheme != "http" && u.Scheme != "https":
		f.AddHint(path, "write it such as https://example.org/path", "scheme %q is neither http nor https", u.Scheme)
	case u.Hostname() == "" || u.Opaque != "":
		f.AddHint(path, "write it such as https://example.org/path", "there is no host in it")
	case u.User != nil:
		f.AddHint(path, "use auth: {user: NAME, secret: NAME}", "there are credentials in it, which everybody could read")
	}
}

// checkHost checks what is dialled and looked up, and is part of no command line (ancestor 59).
func checkHost(f *Faults, path, s string) {
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	for _, c := range []byte(bare) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_', c == ':', c == '%':
		default:
			f.AddHint(path, "write a name or an address, and the port as port", "%q is no host", s)
			return
		}
	}
	_, err := netip.ParseAddr(bare)
	switch {
	case bare == "" || bare[0] == '-' || len(bare) > maxHost:
		f.AddHint(path, "write a name or an address", "%.40q is no host", s)
	case err != nil && strings.Contains(bare, ":"): // no name has one
		f.AddHint(path, "write a name or an address, and the port as port", "%.40q is no host", s)
	}
}

func checkHeaderValue(f *Faults, path, s string) {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			f.Add(path, "there is a line break or a control character in it")
			return
		}
	}
}
