package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/nknorg/ncp-go"
	"github.com/nknorg/nkn-sdk-go"
)

// What is read and written at once: at least one message of a session of messages.
const chunk = 64 << 10

func (d *driver) add(session *ncp.Session) int {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.sessions = append(d.sessions, session)
	return len(d.sessions) - 1
}

func (d *driver) session(r *request) *ncp.Session {
	d.lock.Lock()
	defer d.lock.Unlock()
	return d.sessions[r.Session]
}

func (d *driver) listen(r *request) (interface{}, error) {
	if err := d.client.Listen(nkn.NewStringArray(r.Accept...)); err != nil {
		return nil, err
	}
	go func() {
		for {
			session, err := d.client.AcceptSession()
			if err != nil {
				return
			}
			emit(object{"event": "session", "session": d.add(session), "src": session.RemoteAddr().String()})
		}
	}()
	return nil, nil
}

func (d *driver) dial(r *request) (interface{}, error) {
	session, err := d.client.DialWithConfig(r.Dest[0], &nkn.DialConfig{DialTimeout: r.TimeoutMs})
	if err != nil {
		return nil, err
	}
	return object{"session": d.add(session)}, nil
}

// exchange writes random bytes and meanwhile reads as many.
func (d *driver) exchange(r *request) (interface{}, error) {
	session := d.session(r)
	received := sha256.New()
	read := make(chan error, 1)
	go func() {
		_, err := io.CopyN(received, session, int64(r.Size))
		read <- err
	}()
	sent, err := send(session, r.Size)
	if err != nil {
		return nil, err
	}
	if err := <-read; err != nil {
		return nil, err
	}
	return object{"sent": sum(sent), "received": sum(received)}, nil
}

// echo sends back what comes, until the peer closes.
func (d *driver) echo(r *request) (interface{}, error) {
	session := d.session(r)
	return drain(session, session)
}

func (d *driver) read(r *request) (interface{}, error) {
	session := d.session(r)
	if r.Size == 0 {
		return drain(session, io.Discard)
	}
	received := sha256.New()
	if _, err := io.CopyN(received, session, int64(r.Size)); err != nil {
		return nil, err
	}
	return object{"size": r.Size, "sha256": sum(received)}, nil
}

func (d *driver) write(r *request) (interface{}, error) {
	sent, err := send(d.session(r), r.Size)
	if err != nil {
		return nil, err
	}
	return sum(sent), nil
}

func (d *driver) close(r *request) (interface{}, error) {
	session := d.session(r)
	if err := session.Close(); err != nil {
		return nil, err
	}
	// It goes on behind our back for up to the linger time.
	for !session.IsClosed() {
		time.Sleep(pollInterval)
	}
	return nil, nil
}

func send(session *ncp.Session, size int) (hash.Hash, error) {
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		return nil, err
	}
	sent := sha256.New()
	sent.Write(data)
	for len(data) > 0 {
		n := len(data)
		if n > chunk {
			n = chunk
		}
		if _, err := session.Write(data[:n]); err != nil {
			return nil, err
		}
		data = data[n:]
	}
	return sent, nil
}

func drain(session *ncp.Session, to io.Writer) (interface{}, error) {
	received, size := sha256.New(), 0
	buffer := make([]byte, chunk)
	for {
		n, err := session.Read(buffer)
		if errors.Is(err, ncp.ErrSessionClosed) || err == io.EOF {
			return object{"size": size, "sha256": sum(received)}, nil
		}
		if err != nil {
			return nil, err
		}
		size += n
		received.Write(buffer[:n])
		if _, err := to.Write(buffer[:n]); err != nil {
			return nil, err
		}
	}
}

func sum(h hash.Hash) string {
	return hex.EncodeToString(h.Sum(nil))
}
