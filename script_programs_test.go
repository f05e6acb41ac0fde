package conch_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// die ends a program of the scripts that could not do its work.
func die(a ...any) {
	fmt.Fprintln(os.Stderr, append([]any{os.Args[0] + ":"}, a...)...)
	os.Exit(1)
}

// httpgetMain is the program httpget STATUS URL: it prints the body of the
// answer, and fails if that has another status, or does not come.
func httpgetMain() {
	c := http.Client{Timeout: 5 * time.Second}
	r, err := c.Get(os.Args[2])
	if err != nil {
		die(err)
	}
	defer r.Body.Close()
	if _, err := io.Copy(os.Stdout, r.Body); err != nil {
		die(err)
	}
	if strconv.Itoa(r.StatusCode) != os.Args[1] {
		die(r.Status)
	}
}

// notifiedMain is the program notified SOCKET: it stands for the service
// manager, and prints what it is told on that socket, each message as one line
// with bars for line ends.
func notifiedMain() {
	c, err := net.ListenPacket("unixgram", os.Args[1])
	if err != nil {
		die(err)
	}
	fmt.Println("listening")
	for buf := make([]byte, 4096); ; {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			die(err)
		}
		fmt.Println(strings.ReplaceAll(string(buf[:n]), "\n", "|"))
	}
}

// tunnelMain is the program tunnel LISTEN TARGET: it leads whoever connects to TARGET.
// LISTEN is the path of a socket, or an address: there it is a proxy of HTTP, which
// prints what it is asked for, and answers 403 if there is no TARGET.
func tunnelMain() {
	network := "tcp"
	if strings.Contains(os.Args[1], "/") {
		network = "unix"
	}
	l, err := net.Listen(network, os.Args[1])
	if err != nil {
		die(err)
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			die(err)
		}
		go tunnel(c, network == "tcp", os.Args[2])
	}
}

func tunnel(c net.Conn, proxy bool, target string) {
	defer c.Close()
	in := bufio.NewReader(c)
	if proxy {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		fmt.Println(r.Method, r.Host)
		if target == "" {
			fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\n\r\n")
			return
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
	}
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	go io.Copy(to, in)
	io.Copy(c, to)
}

// postedMain is the program posted ADDRESS [ANSWER...]: it answers HTTP there, and prints
// of each request a line and the body.
func postedMain() {
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		die(err)
	}
	p := &posted{answers: os.Args[2:], docs: map[string]bool{}}
	if len(p.answers) == 0 {
		p.answers = []string{"503"}
	}
	fmt.Println("listening")
	die(http.Serve(l, p))
}

// posted answers one request after another.
type posted struct {
	mu      sync.Mutex
	answers []string
	docs    map[string]bool // that are there, by their ids
}

func (p *posted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		die(err)
	}
	fmt.Printf("%s\n%s", strings.TrimSpace(fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Content-Type"), " ", r.Header.Get("Authorization"))), body)
	answer := "200"
	if len(p.answers) > 0 {
		answer, p.answers = p.answers[0], p.answers[1:]
	}
	if status, err := strconv.Atoi(answer); err == nil && (status != http.StatusOK || !strings.HasSuffix(r.URL.Path, "/_bulk")) {
		w.WriteHeader(status)
		return
	}
	text := p.items(strings.Split(strings.TrimSuffix(string(body), "\n"), "\n"), strings.Split(strings.TrimPrefix(answer, "items:"), ","))
	if answer == "lost" {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprint(w, text)
}

// items makes the documents of a bulk request, unless they are there, or statuses has
// another status for them, and returns what is to be answered.
func (p *posted) items(lines, statuses []string) string {
	var items []string
	for i := 0; i+1 < len(lines); i += 2 {
		var action struct {
			Create struct {
				ID string `json:"_id"`
			}
		}
		if err := json.Unmarshal([]byte(lines[i]), &action); err != nil || action.Create.ID == "" {
			die("this creates nothing:", lines[i], err)
		}
		id, status := action.Create.ID, "201"
		if i/2 < len(statuses) && statuses[i/2] != "200" && statuses[i/2] != "lost" {
			status = statuses[i/2]
		}
		if p.docs[id] {
			status = "409"
		}
		if status == "201" {
			p.docs[id] = true
			fmt.Println("there is", id)
		}
		items = append(items, fmt.Sprintf(`{"create":{"_id":%q,"status":%s,"error":{"type":"type%s","reason":"because"}}}`, id, status, status))
	}
	return fmt.Sprintf(`{"took":1,"errors":true,"items":[%s]}`, strings.Join(items, ","))
}

// freeportMain is the program freeport: it prints an address on which nobody
// listens.
func freeportMain() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		die(err)
	}
	defer l.Close()
	fmt.Println(l.Addr())
}

// jsonlinesMain is the program jsonlines FILE FIELD: it checks that each line of
// the file is a JSON object, and prints that field of all of them.
func jsonlinesMain() {
	f, err := os.Open(os.Args[1])
	if err != nil {
		die(err)
	}
	var found []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var object map[string]any
		if err := json.Unmarshal(lines.Bytes(), &object); err != nil {
			die(lines.Text(), err)
		}
		found = append(found, fmt.Sprint(object[os.Args[2]]))
	}
	fmt.Println(strings.Join(found, " "))
}

// canContain reports whether we may make a pid namespace, as --contain does.
func canContain() bool {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	return cmd.Run() == nil
}

// canSSH reports whether we may log in with ssh to an sshd of our own.
func canSSH() bool {
	for _, program := range []string{"ssh", "ssh-keygen", "/usr/sbin/sshd"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	out, err := exec.Command("getent", "passwd", strconv.Itoa(os.Geteuid())).Output()
	shell := string(out[bytes.LastIndexByte(out, ':')+1:])
	return err == nil && !strings.HasSuffix(strings.TrimSpace(shell), "nologin") && !strings.HasSuffix(strings.TrimSpace(shell), "false")
}
