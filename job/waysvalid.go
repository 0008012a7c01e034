package job

import (
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Bounds of what a task runs instead of a command.
const (
	maxURL       = 8 << 10
	maxHost      = 253
	maxHeaders   = 64
	maxHeader    = 8 << 10
	maxPEM       = 64 << 10
	maxPattern   = 4 << 10
	maxRedirects = 10
)

// checkWay checks what the task runs: a command here or over SSH, a request, or a handler. It is one of them.
func (t *Task) checkWay(f *Faults, prefix string) {
	var ways []string
	for _, w := range [...]struct {
		name string
		set  bool
	}{{"http", t.HTTP != nil}, {"ssh", t.SSH != nil}, {"handler", t.Handler != ""}} {
		if w.set {
			ways = append(ways, w.name)
		}
	}
	if len(ways) > 1 {
		f.AddHint(prefix+ways[1], "leave one of them out", "a task runs one thing, and %s says another", ways[0])
	}
	if t.HTTP != nil {
		t.HTTP.check(f, prefix+"http.")
		t.without(f, prefix, "http", "put what is sent into http.body", true)
	}
	if t.SSH != nil {
		t.SSH.check(f, prefix+"ssh.")
		if t.User != "" {
			f.AddHint(prefix+"user", "write it as ssh.user", "the user is one of the node, and the command runs on %s", t.SSH.Host)
		}
	}
	if t.Handler != "" {
		if err := CheckName("handler", t.Handler); err != nil {
			f.AddError(prefix+"handler", err)
		}
		t.without(f, prefix, "handler", "", false)
	}
	if t.ResultFrom != "" && len(ways) > 0 && ways[0] != "ssh" {
		hint := map[string]string{"http": "write result_from: body within http", "handler": "the handler calls SetResult"}
		f.AddHint(prefix+"result_from", hint[ways[0]], "%s has no stream that a result could come from", ways[0])
	}
	t.checkInput(f, prefix)
	if t.HTTP == nil && t.Handler == "" {
		t.checkCommand(f, prefix)
	}
}

// without refuses what only a process has.
func (t *Task) without(f *Faults, prefix, way, stdinHint string, stdin bool) {
	if !t.Command.IsZero() {
		f.AddHint(prefix+"command", "leave one of them out, or make two tasks of it", "a task runs one thing, and %s says another", way)
	}
	for _, p := range [...]struct {
		name, hint string
		set        bool
	}{
		{"args", "leave it out", len(t.Args) > 0}, {"user", "leave it out", t.User != ""}, {"dir", "leave it out", t.Dir != ""}, {"env", "leave it out", len(t.Env) > 0},
		{"stdin", stdinHint, stdin && t.Stdin != ""},
	} {
		if p.set {
			f.AddHint(prefix+p.name, p.hint, "%s starts no process that could have one", way)
		}
	}
}

func (t *Task) checkInput(f *Faults, prefix string) {
	if len(t.Input) == 0 {
		return
	}
	at := prefix + "input"
	switch {
	case t.Handler == "":
		f.AddHint(at, "give a command its data as stdin", "it is for a handler, and there is none")
	case !json.Valid(t.Input):
		f.Add(at, "it is not JSON")
	case len(t.Input) > maxStdin:
		f.Add(at, "it has %d bytes, at most %d are allowed", len(t.Input), maxStdin)
	}
	inputTexts(t.Input, func(path, s string) { checkValue(f, prefix+path, s, false) })
}

// ownHeaders are set by the request itself.
var ownHeaders = []string{"Connection", "Content-Length", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Accept-Encoding"}

func (h *HTTP) check(f *Faults, prefix string) {
	if h.Method != "" && (!isToken(h.Method) || strings.ToUpper(h.Method) != h.Method || strings.EqualFold(h.Method, "connect")) {
		f.AddHint(prefix+"method", "want GET, POST, PUT, PATCH, DELETE, HEAD or another word in capitals", "method %q is not possible", h.Method)
	}
	checkText(f, prefix+"url", h.URL, maxURL)
	checkValue(f, prefix+"url", h.URL, false)
	if h.URL == "" {
		f.AddHint(prefix+"url", "write it such as https://example.org/path", "there is no URL")
	} else if !hasValues(h.URL) {
		checkURL(f, prefix+"url", h.URL)
	}
	if len(h.Headers) > maxHeaders {
		f.Add(prefix+"headers", "there are %d headers, at most %d are allowed", len(h.Headers), maxHeaders)
	}
	for _, k := range slices.Sorted(maps.Keys(h.Headers)) {
		checkHeader(f, prefix+"headers"+entry(k), k)
		checkText(f, prefix+"headers"+entry(k), h.Headers[k], maxHeader)
		checkHeaderValue(f, prefix+"headers"+entry(k), h.Headers[k])
		checkValue(f, prefix+"headers"+entry(k), h.Headers[k], false)
	}
	if len(h.Body) > maxStdin {
		f.Add(prefix+"body", "it has %d bytes, at most %d are allowed", len(h.Body), maxStdin)
	}
	checkValue(f, prefix+"body", h.Body, false)
	if _, err := h.Expect.ranges(); err != nil {
		f.AddError(prefix+"expect", err)
	}
	checkText(f, prefix+"expect_body", h.ExpectBody, maxPattern)
	if _, err := regexp.Compile(h.ExpectBody); err != nil {
		f.AddHint(prefix+"expect_body", "write a regular expression (RE2)", "%v", err)
	}
	if h.FollowRedirects < 0 || h.FollowRedirects > maxRedirects {
		f.Add(prefix+"follow_redirects", "%d is not from 0 to %d", h.FollowRedirects, maxRedirects)
	}
	if a := h.Auth; a != nil {
		checkSecret(f, prefix+"auth.secret", a.Secret)
		if a.Header != "" {
			checkHeader(f, prefix+"auth.header", a.Header)
		}
		if a.Header != "" && a.User != "" {
			f.AddHint(prefix+"auth.user", "leave one of them out", "a user is for basic authentication, and header names another way")
		}
		if strings.Contains(a.User, ":") {
			f.Add(prefix+"auth.user", "there is a colon in it")
		}
		checkHeaderValue(f, prefix+"auth.user", a.User)
	}
	h.TLS.check(f, prefix+"tls.")
	if h.ResultFrom != "" && h.ResultFrom != ResultFromBody {
		f.AddHint(prefix+"result_from", "write body", "result_from %q is not known", h.ResultFrom)
	}
}

func checkHeader(f *Faults, at, name string) {
	canonical := strings.ToLower(name)
	switch {
	case !isToken(name):
		f.addKey(at, "", "%q is no name of a header", name)
	case slices.ContainsFunc(ownHeaders, func(o string) bool { return strings.EqualFold(o, name) }), strings.HasPrefix(canonical, "proxy-"):
		f.addKey(at, "leave it out", "header %s belongs to the connection", name)
	case strings.HasPrefix(canonical, "rota-"):
		f.addKey(at, "choose another name", "headers that begin with Rota- are set by Rota")
	}
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != "" && len(s) <= MaxName
}

func (t *HTTPTLS) check(f *Faults, prefix string) {
	if t == nil {
		return
	}
	checkPEM(f, prefix+"ca", t.CA)
	checkPEM(f, prefix+"cert", t.Cert)
	if (t.Cert == "") != (t.Key == nil) {
		f.AddHint(prefix+"cert", "write key: {secret: NAME}", "a certificate and its key come together")
	}
	if t.Key != nil {
		checkSecret(f, prefix+"key.secret", t.Key.Secret)
	}
	if t.ServerName != "" {
		checkHost(f, prefix+"server_name", t.ServerName)
	}
}

func checkPEM(f *Faults, at, s string) {
	checkText(f, at, s, maxPEM)
	if s != "" && !strings.HasPrefix(strings.TrimSpace(s), "-----BEGIN ") && !path.IsAbs(s) {
		f.AddHint(at, "write the certificates, or an absolute path on the node", "it is neither PEM nor an absolute path")
	}
}

func checkSecret(f *Faults, at, name string) {
	if err := CheckName("secret", name); err != nil {
		f.AddError(at, err)
	}
}

func (s *SSH) check(f *Faults, prefix string) {
	checkText(f, prefix+"host", s.Host, maxURL)
	checkValue(f, prefix+"host", s.Host, false)
	if !hasValues(s.Host) {
		checkHost(f, prefix+"host", s.Host)
	}
	if s.Port < 0 || s.Port > 65535 {
		f.Add(prefix+"port", "%d is not from 1 to 65535", s.Port)
	}
	if s.User != "" && !validUser(s.User) {
		f.AddHint(prefix+"user", "write a login name", "user %q is no user", s.User)
	}
	logins := 0
	for _, l := range [...]struct {
		path string
		ref  *SecretRef
	}{{"key", s.Key}, {"password", s.Password}} {
		if l.ref != nil {
			logins++
			checkSecret(f, prefix+l.path+".secret", l.ref.Secret)
		}
	}
	if s.Agent {
		logins++
	}
	if logins != 1 {
		f.AddHint(prefix+"key", "write one of key: {secret: NAME}, password: {secret: NAME} and agent: true", "there are %d ways to log in", logins)
	}
	if s.KnownHosts != "" && s.HostKey != "" {
		f.AddHint(prefix+"host_key", "leave one of them out", "known_hosts says already which keys the host may have")
	}
	checkText(f, prefix+"known_hosts", s.KnownHosts, maxPath)
	if s.KnownHosts != "" && !path.IsAbs(s.KnownHosts) {
		f.AddHint(prefix+"known_hosts", "write a path on the node, from / on", "path %q is not absolute", s.KnownHosts)
	}
	checkText(f, prefix+"host_key", s.HostKey, maxPEM)
}

// wayTexts calls a function with every text that may have values in it.
func (t *Task) wayTexts(use func(string)) {
	if h := t.HTTP; h != nil {
		use(h.URL)
		use(h.Body)
		for _, s := range h.Headers {
			use(s)
		}
	}
	if t.SSH != nil {
		use(t.SSH.Host)
	}
	inputTexts(t.Input, func(_, s string) { use(s) })
}
