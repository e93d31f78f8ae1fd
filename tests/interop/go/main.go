// One client of the official Go SDK, driven by JSON lines on stdin and stdout.
//
// The operations are those of ../driver.py, which also says what they answer. What the SDK logs goes to stderr.
// The program ends when stdin does.
package main

import (
	"bufio"
	"encoding/json"
	"io"
	"log"
	"os"
	"sync"
)

// A message of a few MiB in base64.
const maxLine = 16 << 20

// request holds the arguments of all operations; each uses some.
type request struct {
	ID int
	Op string

	RPC        string
	Seed       string
	Identifier string
	SubClients int
	NonStream  bool
	MTU        int32

	Dest           []string
	Text           *string
	Data           []byte // base64 in JSON
	NoReply        bool
	Unencrypted    bool
	HoldingSeconds int32
	TimeoutMs      int32

	Mode    string
	Accept  []string
	Session int
	Size    int

	onChain
}

// content is what the SDK takes as a message: a string or bytes.
func (r *request) content() interface{} {
	if r.Text != nil {
		return *r.Text
	}
	return r.Data
}

type object = map[string]interface{}

var (
	output     = json.NewEncoder(os.Stdout)
	outputLock sync.Mutex
)

// emit writes one line: an answer or an event.
func emit(line object) {
	outputLock.Lock()
	defer outputLock.Unlock()
	if err := output.Encode(line); err != nil {
		log.Fatal(err)
	}
}

func (d *driver) run(r *request) (interface{}, error) {
	switch r.Op {
	case "connect":
		return d.connect(r)
	case "answer":
		return d.answer(r)
	case "send":
		return d.send(r)
	case "listen":
		return d.listen(r)
	case "dial":
		return d.dial(r)
	case "exchange":
		return d.exchange(r)
	case "echo":
		return d.echo(r)
	case "write":
		return d.write(r)
	case "read":
		return d.read(r)
	case "close":
		return d.close(r)
	}
	return d.runOnChain(r)
}

func main() {
	d := newDriver()
	input := bufio.NewReaderSize(os.Stdin, maxLine)
	for {
		line, err := input.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		r := &request{}
		if err := json.Unmarshal(line, r); err != nil {
			log.Fatal(err)
		}
		go func() {
			result, err := d.run(r)
			if err != nil {
				emit(object{"id": r.ID, "error": err.Error()})
				return
			}
			emit(object{"id": r.ID, "result": result})
		}()
	}
}
