package job

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// HTTP is a request that a task makes instead of running a command. Values ({{ … }}) are filled in in URL, Headers and Body.
type HTTP struct {
	Method  string            `json:"method,omitempty"` // default: GET, with a body POST
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	Auth    *HTTPAuth         `json:"auth,omitempty"`
	Body    string            `json:"body,omitempty"`
	// Expect are the statuses of success; default 200-299.
	Expect Statuses `json:"expect,omitempty"`
	// ExpectBody is a regular expression (RE2) that must match within the first MiB of the answer's body.
	ExpectBody string `json:"expect_body,omitempty"`
	// FollowRedirects is how many redirects are followed; 0: a redirect is the answer.
	FollowRedirects int      `json:"follow_redirects,omitempty"`
	TLS             *HTTPTLS `json:"tls,omitempty"`
	// ResultFrom, body, makes the answer's body the run's result, where it is JSON.
	ResultFrom string `json:"result_from,omitempty"`
}

// ResultFromBody is the only source of a request's result.
const ResultFromBody = "body"

// HTTPAuth is a header whose value is a secret of the node. Alone it is "Authorization: Bearer SECRET".
type HTTPAuth struct {
	Secret string `json:"secret"`           // the secret's name
	User   string `json:"user,omitempty"`   // basic authentication with the secret as the password
	Header string `json:"header,omitempty"` // another header, whose value is the secret as it is
}

// HTTPTLS says whom the other side is to be, and who this one is.
type HTTPTLS struct {
	CA         string     `json:"ca,omitempty"`   // certificates in PEM, or the path of a file with them on the node
	Cert       string     `json:"cert,omitempty"` // of this side, in PEM or a path
	Key        *SecretRef `json:"key,omitempty"`  // that belongs to Cert, in PEM
	ServerName string     `json:"server_name,omitempty"`
	// InsecureSkipVerify accepts any certificate, where the node consents.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
}

// SecretRef names a secret of the node. Its value is in no task, job or record.
type SecretRef struct {
	Secret string `json:"secret"`
}

// SSH is a host without an agent on which a task's command runs. Values are filled in in Host.
type SSH struct {
	Host string `json:"host"`
	Port int    `json:"port,omitempty"` // default 22
	User string `json:"user,omitempty"` // default: whom the agent runs as
	// One of these says how to log in.
	Key      *SecretRef `json:"key,omitempty"`   // a private key
	Agent    bool       `json:"agent,omitempty"` // the ssh-agent of the node's agent
	Password *SecretRef `json:"password,omitempty"`
	// One of these says which keys the host may have; neither: the known_hosts of whom the agent runs as, and
	// /etc/ssh/ssh_known_hosts.
	KnownHosts string `json:"known_hosts,omitempty"` // a path on the node
	HostKey    string `json:"host_key,omitempty"`    // such as "ssh-ed25519 AAAA…", one a line
}

// SSHPort is where SSH is served if nothing else is said.
const SSHPort = 22

// Address is where the host listens.
func (s *SSH) Address() string {
	port := s.Port
	if port == 0 {
		port = SSHPort
	}
	host := strings.Trim(s.Host, "[]")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// Way is how an execution runs where that is no command on the node: one of HTTP, SSH and Handler is set. Its values are
// filled in.
type Way struct {
	HTTP    *HTTP
	SSH     *SSH              // for the execution's Argv
	Handler string            // the name of a function of the program that embeds the node
	Input   json.RawMessage   // for the handler
	Params  map[string]string // what the request for the run brought along
}

// Statuses are statuses of HTTP: single ones and ranges, separated by commas, such as 200-299,404. They may be
// written as a list.
type Statuses string

// defaultStatuses are those of success.
const defaultStatuses Statuses = "200-299"

// ranges reads the statuses.
func (s Statuses) ranges() ([][2]int, error) {
	if s == "" {
		s = defaultStatuses
	}
	var list [][2]int
	for word := range strings.SplitSeq(string(s), ",") {
		first, last, ok := strings.Cut(strings.TrimSpace(word), "-")
		if !ok {
			last = first
		}
		from, errFrom := strconv.Atoi(first)
		to, errTo := strconv.Atoi(last)
		if errFrom != nil || errTo != nil || from < 100 || to > 599 || from > to {
			return nil, Errorf(CodeInvalid, "%q is no status", strings.TrimSpace(word)).WithHint("write a number from 100 to 599, such as 204, or a range, such as 200-299")
		}
		list = append(list, [2]int{from, to})
	}
	return list, nil
}

// Has tells whether a status is one of them. Without any it is one of 200 to 299.
func (s Statuses) Has(status int) bool {
	list, err := s.ranges()
	if err != nil {
		return false
	}
	for _, r := range list {
		if r[0] <= status && status <= r[1] {
			return true
		}
	}
	return false
}

// String is the normal form; the default where there are none.
func (s Statuses) String() string {
	if s == "" {
		s = defaultStatuses
	}
	return string(s)
}

// UnmarshalJSON reads a number, a string, or a list of them.
func (s *Statuses) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if json.Unmarshal(b, &list) != nil {
		list = []json.RawMessage{b}
	}
	words := make([]string, len(list))
	for i, item := range list {
		var n int
		if json.Unmarshal(item, &n) == nil {
			words[i] = strconv.Itoa(n)
		} else if err := json.Unmarshal(item, &words[i]); err != nil {
			return fmt.Errorf("expect: want statuses, such as 200-299 or [200, 204], found %s", b)
		}
	}
	*s = Statuses(strings.Join(words, ","))
	return nil
}

// What shows to a person what the task runs.
func (t *Task) What() string { return what(t.Command.String(), t.HTTP, t.SSH, t.Handler) }

// What shows to a person what the job runs.
func (j *Job) What() string { return what(j.Command, j.HTTP, j.SSH, j.Handler) }

func what(command string, h *HTTP, s *SSH, handler string) string {
	switch {
	case h != nil:
		return h.method() + " " + h.URL
	case s != nil:
		host := s.Host
		if s.User != "" {
			host = s.User + "@" + host
		}
		return "ssh " + host + ": " + command
	case handler != "":
		return "handler " + handler
	}
	return command
}

func (h *HTTP) method() string {
	switch {
	case h.Method != "":
		return h.Method
	case h.Body != "":
		return "POST"
	}
	return "GET"
}

func (h *HTTP) clone() *HTTP {
	if h == nil {
		return nil
	}
	c := *h
	c.Headers = maps.Clone(h.Headers)
	c.Auth, c.TLS = cloneOf(h.Auth), cloneOf(h.TLS)
	if c.TLS != nil {
		c.TLS.Key = cloneOf(c.TLS.Key)
	}
	return &c
}

func (s *SSH) clone() *SSH {
	if s == nil {
		return nil
	}
	c := *s
	c.Key, c.Password = cloneOf(s.Key), cloneOf(s.Password)
	return &c
}

func cloneOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
