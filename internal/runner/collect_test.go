//go:build linux

package runner

import (
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func TestResultFromAStream(t *testing.T) {
	r := newRunner(t, Options{})
	big := `printf '{"a":"'; head -c 70000 /dev/zero | tr '\0' x; printf '"}'`
	for line, want := range map[string]struct{ result, fault string }{
		`true`:                             {},
		`echo no json`:                     {},
		`echo start; echo '{"status": 0}'`: {result: `{"status": 0}`},
		`echo '{"a":1}'; echo '{"b":{"c":[2]}}'; echo bye`: {result: `{"b":{"c":[2]}}`},
		`printf '{\n  "pretty": "}{"\n}\n'`:                {result: "{\n  \"pretty\": \"}{\"\n}"},
		`echo 'set {x} {"a":1} {y}'`:                       {result: `{"a":1}`},
		`echo '{"a":1}'; printf '{"b":'`:                   {fault: "its last JSON object breaks off"},
		`echo 'a { b'`:                                     {fault: "it has braces, but no JSON object"},
		`yes | head -c 200000; echo '{"late":true}'`:       {result: `{"late":true}`},
		big: {fault: "its last JSON object has more than 65536 bytes"},
		`printf '{"o":[{"x":1},"'; head -c 200000 /dev/zero | tr '\0' x; printf '",{"x":2}]}'`: {fault: "its last JSON object has more than 65536 bytes"},
		`echo '{"a":1}' >&2`:                                    {},
		`echo '{"a":1}'; echo '{"file":1}' >$ROTA_RESULT`:       {result: `{"file":1}`},
		`echo '{"a":1}'; echo '{"progress":0.5}' >$ROTA_RESULT`: {result: `{"a":1}`},
		`echo '{"a":1}'; echo oops >$ROTA_RESULT`:               {fault: "what was written to ROTA_RESULT is not JSON"},
	} {
		e := sh(line)
		e.ResultFrom = job.Stdout
		x := run(t, r, e)
		if x.Outcome != job.Success || string(x.Result) != want.result || !strings.Contains(x.ResultError, want.fault) || (want.fault == "") != (x.ResultError == "") {
			t.Errorf("%s\nresult %q, fault %q, want %+v", line, x.Result, x.ResultError, want)
		}
		if want.fault != "" && !strings.Contains(x.Reason, want.fault) {
			t.Errorf("%s: the reason is %q", line, x.Reason)
		}
	}
	// ancestor 47: whether a run succeeded was inferred from the first brace of stderr, and not from its exit.
	for line, outcome := range map[string]job.Outcome{
		`echo '{"success":false}' >&2`:        job.Success,
		`echo '{"success":true}' >&2; exit 3`: job.Failed,
		`echo '{ broken' >&2`:                 job.Success,
	} {
		e := sh(line)
		e.ResultFrom = job.Stderr
		if x := run(t, r, e); x.Outcome != outcome || len(x.Output) == 0 {
			t.Errorf("%s: %+v", line, x)
		}
	}
}

// What is made to be slow to search ends soon, with a reason.
func TestResultFromATextMadeToAnnoy(t *testing.T) {
	for _, text := range []string{
		strings.Repeat(`{"a":`, 13000) + "!", strings.Repeat("{", 65536), strings.Repeat(`{"a":[`, 10000) + "1}", strings.Repeat(`{"`, 32768), strings.Repeat("[{", 32768),
	} {
		var l job.LastObject
		l.Write([]byte(text))
		if b, err := l.Object(); err == nil {
			t.Errorf("%.20q… gave %.20q", text, b)
		}
	}
}

func TestLinesOfProgressAreNotTheResult(t *testing.T) {
	r := newRunner(t, Options{})
	for line, want := range map[string]struct{ result, fault string }{
		`echo '{"progress":0.4,"message":"half"}' >$ROTA_RESULT`:                                                                     {},
		`for p in 0 0.5 1; do echo "{\"progress\":$p}" >>$ROTA_RESULT; done; echo '[1]' >>$ROTA_RESULT`:                              {result: `[1]`},
		`echo '{' >$ROTA_RESULT; echo '{"progress":0.5}' >>$ROTA_RESULT; echo '"a":1}' >>$ROTA_RESULT`:                               {result: "{\n\"a\":1}"},
		`echo '{"progress":7}' >$ROTA_RESULT`:                                                                                        {result: `{"progress":7}`},
		`echo '{"progress":0.5,"other":1}' >$ROTA_RESULT`:                                                                            {result: `{"progress":0.5,"other":1}`},
		`echo 1 >$ROTA_RESULT; echo 2 >>$ROTA_RESULT`:                                                                                {fault: "is not JSON"},
		`yes '{"progress":0.5,"message":"again and again"}' | head -n 20000 >$ROTA_RESULT; echo '{"big":true}' >>$ROTA_RESULT`:       {result: `{"big":true}`},
		`yes '{"progress":0.5}' | head -n 10 >$ROTA_RESULT; head -c 65537 /dev/zero | tr '\0' 1 >>$ROTA_RESULT`:                      {fault: "it has 65537 bytes, at most 65536 are kept"},
		`printf '\n\n"' >$ROTA_RESULT; head -c 65534 /dev/zero | tr '\0' x >>$ROTA_RESULT; printf '"\n\n' >>$ROTA_RESULT; echo done`: {result: `"` + strings.Repeat("x", 65534) + `"`},
	} {
		x := run(t, r, sh(line))
		if string(x.Result) != want.result || !strings.Contains(x.ResultError, want.fault) || (want.fault == "") != (x.ResultError == "") {
			t.Errorf("%s\nresult %.100q, fault %q", line, x.Result, x.ResultError)
		}
	}
}

func TestProgressIsToldWhileTheRunLives(t *testing.T) {
	r := newRunner(t, Options{})
	e := sh(`echo '{"progress":0.25,"message":"a quarter"}' >>$ROTA_RESULT; read x <$GO; echo '{"progress":1}' >>$ROTA_RESULT; echo '{"done":1}' >>$ROTA_RESULT`)
	fifo := t.TempDir() + "/go"
	run(t, r, job.Exec{Argv: []string{"mkfifo", fifo}})
	e.Env = []string{"GO=" + fifo}
	before := time.Now()
	x := start(t, r, e)
	select {
	case p := <-x.Progress():
		if p.Progress != 0.25 || p.Message != "a quarter" || p.Time.Before(before.Add(-time.Second)) {
			t.Errorf("got %+v", p)
		}
	case <-time.After(time.Minute):
		t.Fatal("no progress was told")
	}
	run(t, r, sh("echo >"+fifo))
	if got := ended(t, x); string(got.Result) != `{"done":1}` {
		t.Errorf("got %+v", got)
	}
}

func TestLastProgress(t *testing.T) {
	for text, want := range map[string]job.Progress{
		"": {}, "{\"progress\":0.5}": {}, // no line yet
		"{\"progress\":0.5}\n": {Progress: 0.5},
		"{\"progress\":0.5}\n{\"progress\":0.6,\"message\":\"m\"}\n{\"prog": {Progress: 0.6, Message: "m"},
		"0.9}\n{\"progress\":0.5}\n[1,2]\n\n":                               {Progress: 0.5},
		"{\"progress\":-1}\n{\"progress\":\"x\"}\nnull\n":                   {},
	} {
		if p, ok := lastProgress([]byte(text)); p != want || ok != (want != job.Progress{}) {
			t.Errorf("%q: %+v, %v", text, p, ok)
		}
	}
	long := `{"progress":0.5,"message":"` + strings.Repeat("é", 400) + `"}` + "\n"
	if p, ok := lastProgress([]byte(long)); !ok || p.Message != strings.Repeat("é", 256) {
		t.Errorf("%d bytes, %v", len(p.Message), ok)
	}
}

func FuzzResult(f *testing.F) {
	for _, s := range []string{`{"progress":0.5}`, "{\"a\":1}\n{\"progress\":1}\n", "x{\"a\":\"}\"}y", "{{{", "\xff{}"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		rest, n, err := resultOf(strings.NewReader(string(b)))
		if err == nil && n <= job.MaxResult && int(n) != len(rest) {
			t.Errorf("%d bytes of %d", len(rest), n)
		}
		_, _ = lastProgress(b)
		var l, pieces job.LastObject
		l.Write(b)
		for at := 0; at < len(b); at += int(cut) + 1 {
			pieces.Write(b[at:min(at+int(cut)+1, len(b))])
		}
		one, err1 := l.Object()
		two, err2 := pieces.Object()
		if string(one) != string(two) || (err1 == nil) != (err2 == nil) {
			t.Errorf("whole: %q, %v; in pieces: %q, %v", one, err1, two, err2)
		}
	})
}
