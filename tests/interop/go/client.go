package main

import (
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/nknorg/ncp-go"
	"github.com/nknorg/nkn-sdk-go"
)

// How often to look for what the SDK does not announce.
const pollInterval = 10 * time.Millisecond

type driver struct {
	client     *nkn.MultiClient
	identifier string
	payer      *nkn.NanoPay
	claimer    *nkn.NanoPayClaimer

	lock      sync.Mutex
	replyMode *request
	sessions  []*ncp.Session
}

func newDriver() *driver {
	return &driver{replyMode: &request{Mode: "ack"}}
}

func (d *driver) connect(r *request) (interface{}, error) {
	seed, err := hex.DecodeString(r.Seed)
	if err != nil {
		return nil, err
	}
	account, err := nkn.NewAccount(seed)
	if err != nil {
		return nil, err
	}
	d.identifier = r.Identifier
	session := nkn.GetDefaultSessionConfig()
	session.NonStream = r.NonStream
	if r.MTU > 0 {
		session.MTU = r.MTU
	}
	d.client, err = nkn.NewMultiClient(account, r.Identifier, r.SubClients, false, &nkn.ClientConfig{
		SeedRPCServerAddr: nkn.NewStringArray(r.RPC),
		SessionConfig:     session,
		// As many as it takes: a test that stops nodes starts them again.
		ConnectRetries: -1,
	})
	if err != nil {
		return nil, err
	}
	// The SDK returns with the first sub-client, and a session has the paths with which it begins.
	for len(d.client.GetClients()) < r.SubClients {
		time.Sleep(pollInterval)
	}
	go d.receive()
	return object{"address": d.client.Address()}, nil
}

// receive announces messages, and answers them as told by the operation "answer".
func (d *driver) receive() {
	for message := range d.client.OnMessage.C {
		event := content(message)
		event["event"] = "message"
		event["src"] = message.Src
		event["encrypted"] = message.Encrypted
		event["noReply"] = message.NoReply
		emit(event)
		d.lock.Lock()
		mode := d.replyMode
		d.lock.Unlock()
		var reply interface{}
		switch mode.Mode {
		case "silent":
			continue
		case "reply":
			reply = mode.content()
		}
		if err := message.Reply(reply); err != nil {
			emit(object{"event": "error", "error": err.Error()})
		}
	}
}

func content(message *nkn.Message) object {
	switch message.Type {
	case nkn.AckType:
		return object{"ack": true}
	case nkn.TextType:
		return object{"text": string(message.Data)}
	}
	// Not nil, which would be null and not "".
	return object{"data": append([]byte{}, message.Data...)}
}

func (d *driver) answer(r *request) (interface{}, error) {
	d.lock.Lock()
	d.replyMode = r
	d.lock.Unlock()
	return nil, nil
}

func (d *driver) send(r *request) (interface{}, error) {
	reply, err := d.client.Send(nkn.NewStringArray(r.Dest...), r.content(), &nkn.MessageConfig{
		NoReply:           r.NoReply,
		Unencrypted:       r.Unencrypted,
		MaxHoldingSeconds: r.HoldingSeconds,
	})
	if err != nil || r.NoReply {
		return nil, err
	}
	select {
	case message := <-reply.C:
		return content(message), nil
	case <-time.After(time.Duration(r.TimeoutMs) * time.Millisecond):
		return nil, errors.New("no reply in time")
	}
}
