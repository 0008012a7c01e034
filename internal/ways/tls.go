package ways

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"

	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

// tlsConfig is how the other side is known, and this one.
func (r *Runner) tlsConfig(t *job.HTTPTLS, mask *secrets.Masker) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.roots}
	if t == nil {
		return conf, nil
	}
	conf.ServerName = t.ServerName
	if t.InsecureSkipVerify {
		if !r.AllowInsecureTLS {
			return nil, job.Errorf(job.CodeForbidden, "http.tls: this node does not allow insecure_skip_verify").
				WithHint("name the authority with tls.ca; the node's owner may consent with --http-insecure-tls")
		}
		conf.InsecureSkipVerify = true // the task asks for it and the node's owner consents
	}
	if t.CA != "" {
		pem, err := pemOf("http.tls.ca", t.CA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, job.Errorf(job.CodeInvalid, "http.tls.ca holds no certificate").WithHint("it is PEM: -----BEGIN CERTIFICATE-----")
		}
	}
	if t.Cert == "" {
		return conf, nil
	}
	cert, err := pemOf("http.tls.cert", t.Cert)
	if err != nil {
		return nil, err
	}
	if t.Key == nil {
		return nil, job.Errorf(job.CodeInvalid, "http.tls.cert has no key").WithHint("write key: {secret: NAME}")
	}
	key, err := r.Secrets.Read(t.Key.Secret)
	if err != nil {
		return nil, err
	}
	mask.Add(key)
	pair, err := tls.X509KeyPair(cert, []byte(key))
	if err != nil {
		return nil, job.Errorf(job.CodeInvalid, "http.tls.cert and secret %s do not make a certificate with its key", t.Key.Secret).
			WithHint("both are PEM, the certificate with its chain and the key that belongs to it")
	}
	conf.Certificates = []tls.Certificate{pair}
	return conf, nil
}

// pemOf is a document in PEM, or of the file of that path.
func pemOf(what, s string) ([]byte, error) {
	if !strings.HasPrefix(s, "/") {
		return []byte(s), nil
	}
	b, err := os.ReadFile(s)
	if err != nil {
		return nil, job.Errorf(job.CodeInvalid, "%s: %w", what, err).WithHint("put the file onto the node, or write its text into the task")
	}
	return b, nil
}
