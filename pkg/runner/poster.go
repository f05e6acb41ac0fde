package runner

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	postTimeout = 10 * time.Second
	mostAnswer  = 16 << 20 // bytes of an answer that are read
)

// poster delivers to a URL.
type poster struct {
	url     string
	name    string // url, without what it may hold of secrets
	bulk    bool   // in the form of Elasticsearch and OpenSearch
	headers string // the file
	client  *http.Client
}

func newPoster(u *url.URL, cfg SinkConfig) (*poster, error) {
	if u.Host == "" {
		return nil, fmt.Errorf("%q names no host", cfg.Target)
	}
	p := &poster{url: cfg.Target, name: u.Scheme + "://" + u.Host + u.Path, bulk: strings.HasSuffix(u.Path, "/_bulk"), headers: cfg.HeaderFile}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if cfg.CACert != "" {
		pem, err := os.ReadFile(cfg.CACert)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: there is no certificate in it", cfg.CACert)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	// A redirect would be followed without the body, or with the headers to another host.
	p.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	_, err := p.header()
	return p, err
}

// header is what each request carries.
func (p *poster) header() (http.Header, error) {
	h := http.Header{"Content-Type": {"application/x-ndjson"}}
	if p.headers == "" {
		return h, nil
	}
	text, err := os.ReadFile(p.headers)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("%s: there is a line that is not NAME: VALUE", p.headers) // which may be a secret
		}
		h.Set(name, strings.TrimSpace(value))
	}
	return h, nil
}

// deliver posts reports in one request, or, if what takes them cannot do with all of them
// together, in several.
func (p *poster) deliver(ctx context.Context, all []report) (left []report, refused []refusal, why error) {
	if len(all) == 0 {
		return nil, nil, nil
	}
	status, answer, err := p.post(ctx, p.body(all))
	switch {
	case err != nil:
		return all, nil, err
	case status/100 == 2 && p.bulk:
		return p.items(all, answer)
	case status/100 == 2, status == http.StatusConflict: // it is there
		return nil, nil, nil
	case !unfit(status):
		return all, nil, fmt.Errorf("%s answers %s", p.name, statusText(status))
	case len(all) == 1:
		why := p.name + " answers " + statusText(status)
		return nil, []refusal{{all[0].id, why, why}}, nil
	}
	for half := range slices.Chunk(all, (len(all)+1)/2) {
		l, r, err := p.deliver(ctx, half)
		left, refused, why = append(left, l...), append(refused, r...), cmp.Or(why, err)
	}
	return left, refused, why
}

// unfit reports whether a status says that it is what was sent that is wrong: one that
// says that it must not be sent, or not there, or not now, is somebody's to mend.
func unfit(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// waits reports whether an item of such a status is to be tried again: it is about the index
// or the key then, as it is where a whole request is answered so. A disk that is full is one
// of those, and blocks the index: 403.
func waits(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests:
		return true
	}
	return false
}

func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// body is what is posted of reports.
func (p *poster) body(all []report) []byte {
	var b bytes.Buffer
	for _, r := range all {
		if p.bulk {
			// create, not index: a document that is there already stays as it is.
			id, _ := json.Marshal(r.id) // a string is never refused
			fmt.Fprintf(&b, "{\"create\":{\"_id\":%s}}\n", id)
		}
		b.Write(r.line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// post returns the answer's status, and its body if it is good.
func (p *poster) post(ctx context.Context, body []byte) (status int, answer []byte, _ error) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if req.Header, err = p.header(); err != nil {
		return 0, nil, err
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := p.client.Do(req)
	var asked *url.Error
	if errors.As(err, &asked) {
		return 0, nil, fmt.Errorf("%s: %w", p.name, asked.Err) // its own text quotes all of the URL
	} else if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(io.LimitReader(resp.Body, mostAnswer)); err != nil && resp.StatusCode/100 == 2 {
		return 0, nil, fmt.Errorf("%s: %w", p.name, err)
	}
	return resp.StatusCode, answer, nil
}

// bulkAnswer is what the bulk interface answers: an item for each record, in their order.
type bulkAnswer struct {
	Items []struct {
		Create struct {
			Status int `json:"status"`
			Error  struct {
				Type   string `json:"type"`
				Reason string `json:"reason"`
			} `json:"error"`
		} `json:"create"`
	} `json:"items"`
}

// items reads the answer of the bulk interface: 200 says no more than that it has been
// asked.
func (p *poster) items(all []report, answer []byte) (left []report, refused []refusal, why error) {
	var bulk bulkAnswer
	if err := json.Unmarshal(answer, &bulk); err != nil || len(bulk.Items) != len(all) {
		return all, nil, fmt.Errorf("%s does not answer as a bulk interface does", p.name)
	}
	for i, item := range bulk.Items {
		c := item.Create
		text := strings.TrimSpace(fmt.Sprintf("%s answers %s %s", p.name, statusText(c.Status), c.Error.Type))
		switch {
		case c.Status/100 == 2, c.Status == http.StatusConflict: // it is there
		case c.Status/100 == 4 && !waits(c.Status):
			refused = append(refused, refusal{all[i].id, text, text + ": " + c.Error.Reason})
		default:
			left, why = append(left, all[i]), cmp.Or(why, errors.New(text))
		}
	}
	return left, refused, why
}
