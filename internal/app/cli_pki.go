package app

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/job"
)

// How long certificates are good for, and how far a clock may be behind the one of the machine that made them.
const (
	authorityFor   = 10 * 365 * 24 * time.Hour
	certificateFor = 2 * 365 * 24 * time.Hour
	clockSlack     = time.Hour
)

func (c *cli) pkiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pki", Short: "Make the certificates with which etcd, masters and nodes know each other",
		Example: "  rota pki init ./pki\n  rota pki issue ./pki m1 10.0.0.1 m1.example.org",
	}
	cmd.AddCommand(c.pkiInit(), c.pkiIssue())
	return kinds(cmd)
}

func (c *cli) pkiInit() *cobra.Command {
	return &cobra.Command{
		Use: "init DIR", Short: "Make an authority: DIR/ca.pem and DIR/ca.key", Args: arguments(1, 1, "a folder"),
		Long: "Make an authority: DIR/ca.pem, which every machine needs, and DIR/ca.key, which none needs: whoever has it can make\n" +
			"certificates. Keep it where you keep such things.",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o700); err != nil {
				return err
			}
			template := &x509.Certificate{
				Subject: pkix.Name{CommonName: "Rota"}, NotAfter: c.Now().Add(authorityFor), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
				KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			}
			return c.certificate(args[0], "ca", template, nil)
		},
	}
}

func (c *cli) pkiIssue() *cobra.Command {
	return &cobra.Command{
		Use: "issue DIR NAME [HOST…]", Short: "Make a certificate: DIR/NAME.pem and DIR/NAME.key", Args: arguments(2, -1, "a folder and a name"),
		Long: "Make a certificate, signed by the authority in DIR, with the addresses and host names at which others reach the machine. It\n" +
			"serves both ends of a connection: --etcd-cert and --etcd-key of masters and nodes, --tls-cert and --tls-key of the API.",
		Example: "  rota pki issue ./pki m1 10.0.0.1 m1.example.org",
		RunE: func(_ *cobra.Command, args []string) error {
			dir, name := args[0], args[1]
			if err := job.CheckName("certificate", name); err != nil {
				return &usageError{err: err}
			}
			ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
			if err != nil {
				return job.Errorf(job.CodeInvalid, "read the authority in %s: %w", dir, err).WithHint("make one: rota pki init %s", dir)
			}
			template := &x509.Certificate{
				Subject: pkix.Name{CommonName: name}, NotAfter: c.Now().Add(certificateFor), KeyUsage: x509.KeyUsageDigitalSignature,
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			}
			for _, host := range args[2:] {
				if ip := net.ParseIP(host); ip != nil {
					template.IPAddresses = append(template.IPAddresses, ip)
				} else {
					template.DNSNames = append(template.DNSNames, host)
				}
			}
			return c.certificate(dir, name, template, &ca)
		},
	}
}

// certificate makes a key and a certificate for it, signed by the authority or, for the authority itself, by its own key. Neither
// file may be there.
func (c *cli) certificate(dir, name string, template *x509.Certificate, ca *tls.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return err
	}
	template.NotBefore = c.Now().Add(-clockSlack)
	parent, signer := template, crypto.PrivateKey(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		mode fs.FileMode
		kind string
		der  []byte
	}{{name + ".key", 0o600, "PRIVATE KEY", secret}, {name + ".pem", 0o644, "CERTIFICATE", der}} {
		path := filepath.Join(dir, f.name)
		if err := writeNew(path, f.mode, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})); err != nil {
			return err
		}
		fmt.Fprintln(c.Out, path)
	}
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, mode fs.FileMode, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, fs.ErrExist) {
		return job.Errorf(job.CodeConflict, "%s is there already", path).WithHint("it is not overwritten; name another, or remove it")
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
