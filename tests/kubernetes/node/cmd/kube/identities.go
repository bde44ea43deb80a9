package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Who may talk to the API server, and as whom. A file NAME.kubeconfig is written for each.
var clients = map[string]pkix.Name{
	"admin":                   {CommonName: "admin", Organization: []string{"system:masters"}},
	"addresses":               {CommonName: "system:addresses", Organization: []string{"system:masters"}},
	"kube-controller-manager": {CommonName: "system:kube-controller-manager"},
	"kube-proxy":              {CommonName: "system:kube-proxy"},
	"kube-scheduler":          {CommonName: "system:kube-scheduler"},
	// kubelet: its name holds the node's, see identities
}

const lifetime = 90 * 24 * time.Hour

// folder is where everything is written; the first error stays and makes the writes after it do nothing.
type folder struct {
	path string
	err  error
}

func (f *folder) write(name string, content []byte) {
	if f.err == nil {
		f.err = os.WriteFile(filepath.Join(f.path, name), content, 0o600)
	}
}

// pair is a key and, unless it only signs tokens, its certificate.
type pair struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func (p pair) keyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		panic(err) // a P-256 key can always be written
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (p pair) certificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw})
}

// identities makes an authority of its own for one cluster and whatever it has to sign.
func identities(args []string) error {
	flags := flag.NewFlagSet("identities", flag.ContinueOnError)
	out := &folder{}
	flags.StringVar(&out.path, "out", "", "folder to write to; it must exist")
	server := flags.String("server", "", "URL of the API server, for the kubeconfigs")
	node := flags.String("node", "", "name of the node")
	names := flags.String("serving", "", "names and addresses under which API server and kubelet are reached, with commas")
	if err := flags.Parse(args); err != nil {
		return err
	}

	authority, err := sign(x509.Certificate{
		Subject:               pkix.Name{CommonName: "transom-kube"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}, nil)
	if err != nil {
		return err
	}
	out.write("ca.crt", authority.certificatePEM())
	out.write("ca.key", authority.keyPEM())

	template := x509.Certificate{
		Subject:     pkix.Name{CommonName: *node},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for name := range strings.SplitSeq(*names, ",") {
		if address := net.ParseIP(name); address == nil {
			template.DNSNames = append(template.DNSNames, name)
		} else {
			template.IPAddresses = append(template.IPAddresses, address)
		}
	}
	serving, err := sign(template, authority)
	if err != nil {
		return err
	}
	out.write("serving.crt", serving.certificatePEM())
	out.write("serving.key", serving.keyPEM())

	clients["kubelet"] = pkix.Name{CommonName: "system:node:" + *node, Organization: []string{"system:nodes"}}
	for name, subject := range clients {
		client, err := sign(x509.Certificate{
			Subject:     subject,
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, authority)
		if err != nil {
			return err
		}
		out.write(name+".crt", client.certificatePEM())
		out.write(name+".key", client.keyPEM())
		out.write(name+".kubeconfig", kubeconfig(*server, authority, client))
	}

	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&tokens.PublicKey)
	if err != nil {
		return err
	}
	out.write("tokens.key", pair{key: tokens}.keyPEM())
	out.write("tokens.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	return out.err
}

// sign makes a key and a certificate for it, signed by the authority, or by itself where there is none.
func sign(template x509.Certificate, authority *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).SetBit(new(big.Int), 127, 1))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	// The clocks inside and outside are one; the hour is for those who set it back.
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, now.Add(-time.Hour), now.Add(lifetime)
	parent, signer := &template, key
	if authority != nil {
		parent, signer = authority.certificate, authority.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &pair{key: key, certificate: certificate}, err
}

// kubeconfig is JSON, which is YAML too.
func kubeconfig(server string, authority, client *pair) []byte {
	type object = map[string]any
	const name = "transom-kube"
	encode := base64.StdEncoding.EncodeToString
	text, err := json.MarshalIndent(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": name,
		"clusters": []object{{"name": name, "cluster": object{
			"server": server, "certificate-authority-data": encode(authority.certificatePEM())}}},
		"users": []object{{"name": name, "user": object{
			"client-certificate-data": encode(client.certificatePEM()), "client-key-data": encode(client.keyPEM())}}},
		"contexts": []object{{"name": name, "context": object{"cluster": name, "user": name}}},
	}, "", "  ")
	if err != nil {
		panic(errors.Join(errors.New("a map of texts can always be written"), err))
	}
	return append(text, '\n')
}
