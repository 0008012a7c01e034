package job

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/mail"
	"net/url"
	"slices"
	"strings"
)

// Receiver is where messages go, under a name. It has one of mail, webhook and slack.
type Receiver struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Mail        *Mail    `json:"mail,omitempty"`
	Webhook     *Webhook `json:"webhook,omitempty"`
	Slack       *Slack   `json:"slack,omitempty"`
	// MaxPerHour is how many messages it gets in an hour; the last of them is a summary of all that is left. 0: DefaultPerHour.
	MaxPerHour int `json:"max_per_hour,omitempty"`
}

// DefaultPerHour is how many messages a receiver gets in an hour, where it says nothing else.
const DefaultPerHour = 30

// Mail is a receiver that a server of mail passes messages on to.
type Mail struct {
	Server   string     `json:"server"`
	Port     int        `json:"port,omitempty"` // default: 587, with tls 465, with none 25
	TLS      MailTLS    `json:"tls,omitempty"`  // default: starttls
	User     string     `json:"user,omitempty"`
	Password *SecretRef `json:"password,omitempty"`
	From     string     `json:"from"`
	To       Names      `json:"to"`
}

// MailTLS says how a connection to a server of mail is kept private.
type MailTLS string

// The ways.
const (
	MailStartTLS MailTLS = "starttls" // asked for on the open connection, and insisted upon
	MailOnlyTLS  MailTLS = "tls"      // from the first byte
	MailNoTLS    MailTLS = "none"     // not at all: then no password is sent, but to this machine
)

// Webhook is a receiver that takes JSON over HTTP.
type Webhook struct {
	URL     TextOrSecret      `json:"url"`
	Secret  *SecretRef        `json:"secret,omitempty"` // signs each message
	Headers map[string]string `json:"headers,omitempty"`
}

// Slack is a receiver that takes what an incoming webhook of Slack takes, as Mattermost and, at /slack, Discord do.
type Slack struct {
	URL TextOrSecret `json:"url"`
}

// TextOrSecret is a text, or the name of a secret of the masters that has it: TEXT or {secret: NAME}.
type TextOrSecret struct {
	Text   string `json:"text,omitempty"`
	Secret string `json:"secret"`
}

// IsZero tells whether it says nothing.
func (t TextOrSecret) IsZero() bool { return t == TextOrSecret{} }

// MarshalJSON writes a text or an object.
func (t TextOrSecret) MarshalJSON() ([]byte, error) {
	if t.Secret != "" {
		return json.Marshal(SecretRef{t.Secret})
	}
	return json.Marshal(t.Text)
}

// UnmarshalJSON reads a text or an object.
func (t *TextOrSecret) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte(`"`)) {
		*t = TextOrSecret{}
		return json.Unmarshal(b, &t.Text)
	}
	var ref SecretRef
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ref); err != nil {
		return Errorf(CodeInvalid, "want a text or {secret: NAME}: %w", err)
	}
	*t = TextOrSecret{Secret: ref.Secret}
	return nil
}

// DocumentName is the receiver's name.
func (r *Receiver) DocumentName() string { return r.Name }

// Secrets are the names of the secrets that it uses.
func (r *Receiver) Secrets() []string {
	var names []string
	add := func(name string) {
		if name != "" {
			names = append(names, name)
		}
	}
	if m := r.Mail; m != nil && m.Password != nil {
		add(m.Password.Secret)
	}
	if w := r.Webhook; w != nil {
		add(w.URL.Secret)
		if w.Secret != nil {
			add(w.Secret.Secret)
		}
	}
	if r.Slack != nil {
		add(r.Slack.URL.Secret)
	}
	return names
}

// Valid reports every fault of the receiver in one error.
func (r *Receiver) Valid() error {
	var f Faults
	r.check(&f, "")
	return f.Err("receiver " + r.Name + " is not valid")
}

func checkDocumentName(f *Faults, prefix, sort, name string) {
	if name == "" {
		f.AddHint(prefix+"name", "add name: NAME", "the %s has no name", sort)
	} else if err := CheckName(sort, name); err != nil {
		f.AddError(prefix+"name", err)
	}
}

func (r *Receiver) check(f *Faults, prefix string) {
	checkDocumentName(f, prefix, "receiver", r.Name)
	checkText(f, prefix+"description", r.Description, maxDescription)
	if r.MaxPerHour < 0 || r.MaxPerHour > 3600 {
		f.Add(prefix+"max_per_hour", "%d is not from 1 to 3600", r.MaxPerHour)
	}
	ways := 0
	if r.Mail != nil {
		ways++
		r.Mail.check(f, prefix+"mail.")
	}
	if r.Webhook != nil {
		ways++
		r.Webhook.check(f, prefix+"webhook.")
	}
	if r.Slack != nil {
		ways++
		r.Slack.URL.checkURL(f, prefix+"slack.url")
	}
	if ways != 1 {
		f.AddHint(strings.TrimSuffix(prefix, "."), "make a receiver of each", "it has %d of mail, webhook and slack, want one", ways)
	}
}

func (m *Mail) check(f *Faults, prefix string) {
	if m.Server == "" || strings.ContainsAny(m.Server, " \t\r\n/@:") && !isIPv6(m.Server) {
		f.AddHint(prefix+"server", "write a host, such as mail.example.com; its port has a field of its own", "%q is no server", m.Server)
	}
	checkText(f, prefix+"server", m.Server, 253)
	if m.Port < 0 || m.Port > 65535 {
		f.Add(prefix+"port", "%d is not from 1 to 65535", m.Port)
	}
	if m.TLS != "" {
		checkEnum(f, prefix+"tls", m.TLS, []MailTLS{MailStartTLS, MailOnlyTLS, MailNoTLS})
	}
	checkLine(f, prefix+"user", m.User)
	if (m.User == "") != (m.Password == nil) {
		f.Add(prefix+"user", "a user and a password come together")
	}
	if m.Password != nil {
		if err := CheckName("secret", m.Password.Secret); err != nil {
			f.AddError(prefix+"password.secret", err)
		}
	}
	checkAddress(f, prefix+"from", m.From)
	if len(m.To) == 0 || len(m.To) > 100 {
		f.Add(prefix+"to", "it has %d addresses, want 1 to 100", len(m.To))
	}
	for _, a := range m.To {
		checkAddress(f, prefix+"to", a)
	}
}

func isIPv6(s string) bool { return strings.Count(s, ":") > 1 && !strings.ContainsAny(s, " \t\r\n/@") }

// checkLine refuses what would begin another line of a header.
func checkLine(f *Faults, path, s string) {
	checkText(f, path, s, maxLabelValue)
	if i := strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }); i >= 0 && !strings.ContainsRune(s, 0) {
		f.Add(path, "there is a line break or a control character in it")
	}
}

func checkAddress(f *Faults, path, s string) {
	checkLine(f, path, s)
	if _, err := mail.ParseAddress(s); err != nil {
		f.AddHint(path, "write ops@example.com or Ops <ops@example.com>", "%q is no address", s)
	}
}

func (w *Webhook) check(f *Faults, prefix string) {
	w.URL.checkURL(f, prefix+"url")
	if w.Secret != nil {
		if err := CheckName("secret", w.Secret.Secret); err != nil {
			f.AddError(prefix+"secret.secret", err)
		}
	}
	if len(w.Headers) > maxLabels {
		f.Add(prefix+"headers", "there are %d headers, at most %d are allowed", len(w.Headers), maxLabels)
		return
	}
	for _, k := range slices.Sorted(maps.Keys(w.Headers)) {
		at := prefix + "headers" + entry(k)
		if slices.Contains([]string{"host", "content-type"}, strings.ToLower(k)) {
			f.addKey(at, "choose another name", "the header %s is set by Rota", k)
		}
		checkHeader(f, at, k)
		checkText(f, at, w.Headers[k], maxHeader)
		checkHeaderValue(f, at, w.Headers[k])
	}
}

func (t TextOrSecret) checkURL(f *Faults, path string) {
	if t.Secret != "" {
		if err := CheckName("secret", t.Secret); err != nil {
			f.AddError(path+".secret", err)
		}
		return
	}
	checkLine(f, path, t.Text)
	if err := CheckNotifyURL(t.Text); err != nil {
		f.AddError(path, err)
	}
}

// CheckNotifyURL tells whether messages can be sent to a URL. The error does not repeat it: it may be a secret.
func CheckNotifyURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return Errorf(CodeInvalid, "it is no URL of http or https without a user and a fragment").
			WithHint("write it such as https://hooks.example.com/rota, or {secret: NAME} where the path must stay secret")
	}
	return nil
}
