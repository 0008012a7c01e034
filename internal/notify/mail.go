package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/wneessen/go-mail"

	"github.com/rota-dev/rota/job"
)

// mail passes a message on to a server of mail.
func (s *Sender) mail(ctx context.Context, r *job.Mail, m Message, values map[string]string) (string, error) {
	msg, err := mailOf(r, m)
	if err != nil {
		return "", err
	}
	port, policy := r.Port, mail.TLSMandatory
	switch {
	case port != 0:
	case r.TLS == job.MailOnlyTLS:
		port = 465
	case r.TLS == job.MailNoTLS:
		port = 25
	default:
		port = 587
	}
	if r.TLS == job.MailNoTLS || r.TLS == job.MailOnlyTLS {
		policy = mail.NoTLS // after the connection is there
	}
	options := []mail.Option{
		mail.WithPort(port), mail.WithTLSPolicy(policy), mail.WithTLSConfig(s.tls(r.Server)), mail.WithTimeout(attemptTime), mail.WithoutNoop(),
		mail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := s.dialer().DialContext(ctx, network, address)
			if err != nil || r.TLS != job.MailOnlyTLS {
				return c, err
			}
			t := tls.Client(c, s.tls(r.Server))
			if err := t.HandshakeContext(ctx); err != nil {
				_ = c.Close()
				return nil, err
			}
			return t, nil
		}),
	}
	if r.User != "" {
		password := values[r.Password.Secret]
		if strings.ContainsFunc(password, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return "", job.Errorf(job.CodeInvalid, "secret %s has a line break or a control character in it", r.Password.Secret)
		}
		options = append(options, mail.WithUsername(r.User), mail.WithPassword(password))
	}
	for _, auth := range authsOf(r) {
		var client *mail.Client
		if client, err = mail.NewClient(r.Server, append(slices.Clip(options), mail.WithSMTPAuth(auth))...); err != nil {
			return "", err
		}
		if err = client.DialAndSendWithContext(ctx, msg); !errors.Is(err, mail.ErrPlainAuthNotSupported) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	if answer := msg.ServerResponse(); answer != "" {
		return answer, nil
	}
	return "accepted by " + r.Server, nil
}

// authsOf are the ways to log in, in the order in which to try. The library does not see that a connection that it did not make itself is
// private, and would not choose these two on it.
func authsOf(r *job.Mail) []mail.SMTPAuthType {
	switch {
	case r.User == "":
		return []mail.SMTPAuthType{mail.SMTPAuthNoAuth}
	case r.TLS == job.MailOnlyTLS:
		return []mail.SMTPAuthType{mail.SMTPAuthPlain, mail.SMTPAuthLogin}
	}
	return []mail.SMTPAuthType{mail.SMTPAuthAutoDiscover}
}

// mailOf is the message as mail: plain text, in a thread with what is told of the same trouble.
func mailOf(r *job.Mail, m Message) (*mail.Msg, error) {
	msg := mail.NewMsg(mail.WithCharset(mail.CharsetUTF8), mail.WithEncoding(mail.EncodingQP))
	if err := msg.From(r.From); err != nil {
		return nil, job.Errorf(job.CodeInvalid, "mail.from: %w", err)
	}
	if err := msg.To(r.To...); err != nil {
		return nil, job.Errorf(job.CodeInvalid, "mail.to: %w", err)
	}
	host := r.From[strings.LastIndexByte(r.From, '@')+1:]
	host = strings.TrimSuffix(host, ">")
	msg.Subject(m.Title())
	msg.SetMessageIDWithValue(m.ID + "@" + host)
	msg.SetDateWithValue(m.At)
	thread := "<" + m.Thread + "@" + host + ">"
	msg.SetGenHeader(mail.HeaderInReplyTo, thread)
	msg.SetGenHeader(mail.HeaderReferences, thread)
	msg.SetGenHeader(mail.Header("Auto-Submitted"), "auto-generated")
	msg.SetGenHeader(mail.Header(HeaderEvent), string(m.Event))
	msg.SetBodyString(mail.TypeTextPlain, m.Text())
	return msg, nil
}
