package main

import (
	"encoding/hex"
	"fmt"

	"github.com/nknorg/nkn-sdk-go"
	"github.com/nknorg/nkn/v2/transaction"
)

// onChain holds the arguments of operations on the block chain.
type onChain struct {
	Wallet     string
	Amount     string
	Fee        string
	Name       string
	Recipient  string
	Topic      string
	Duration   int
	Meta       string
	Subscriber string
	File       string
	Password   string
}

func (d *driver) runOnChain(r *request) (interface{}, error) {
	switch r.Op {
	case "balance":
		amount, err := d.client.BalanceByAddress(r.Wallet)
		if err != nil {
			return nil, err
		}
		return amount.String(), nil
	case "nonce":
		return d.client.GetNonceByAddress(r.Wallet, true)
	case "transfer":
		return d.client.Transfer(r.Wallet, r.Amount, &nkn.TransactionConfig{Fee: r.Fee})
	case "registerName":
		return d.client.RegisterName(r.Name, nil)
	case "transferName":
		key, err := hex.DecodeString(r.Recipient)
		if err != nil {
			return nil, err
		}
		return d.client.TransferName(r.Name, key, nil)
	case "deleteName":
		return d.client.DeleteName(r.Name, nil)
	case "registrant":
		found, err := d.client.GetRegistrant(r.Name)
		if err != nil {
			return nil, err
		}
		return []interface{}{found.Registrant, found.ExpiresAt}, nil
	}
	return d.runOnTopic(r)
}

func (d *driver) runOnTopic(r *request) (interface{}, error) {
	switch r.Op {
	case "subscribe":
		return d.client.Subscribe(d.identifier, r.Topic, r.Duration, r.Meta, nil)
	case "unsubscribe":
		return d.client.Unsubscribe(d.identifier, r.Topic, nil)
	case "subscribers":
		found, err := d.client.GetSubscribers(r.Topic, 0, 1000, true, false, nil)
		if err != nil {
			return nil, err
		}
		return found.Subscribers.Map(), nil
	case "subscribersCount":
		return d.client.GetSubscribersCount(r.Topic, nil)
	case "subscription":
		found, err := d.client.GetSubscription(r.Topic, r.Subscriber)
		if err != nil {
			return nil, err
		}
		return []interface{}{found.Meta, found.ExpiresAt}, nil
	case "publish":
		return nil, d.client.Publish(r.Topic, r.content(), nil)
	}
	return d.runOnWallet(r)
}

func (d *driver) runOnWallet(r *request) (interface{}, error) {
	config := &nkn.WalletConfig{Password: r.Password}
	switch r.Op {
	case "nanoPay":
		if d.payer == nil {
			payer, err := d.client.NewNanoPay(r.Wallet, "0", 100)
			if err != nil {
				return nil, err
			}
			d.payer = payer
		}
		payment, err := d.payer.IncrementAmount(r.Amount, "")
		if err != nil {
			return nil, err
		}
		encoded, err := payment.Marshal()
		return hex.EncodeToString(encoded), err
	case "claimNanoPay":
		if d.claimer == nil {
			claimer, err := d.client.NewNanoPayClaimer(r.Wallet, 3600000, 0, "0", nkn.NewOnError(1, nil))
			if err != nil {
				return nil, err
			}
			d.claimer = claimer
		}
		encoded, err := hex.DecodeString(r.File)
		if err != nil {
			return nil, err
		}
		payment := &transaction.Transaction{}
		if err := payment.Unmarshal(encoded); err != nil {
			return nil, err
		}
		amount, err := d.claimer.Claim(payment)
		if err != nil {
			return nil, err
		}
		return amount.String(), d.claimer.Flush()
	case "openWallet":
		wallet, err := nkn.WalletFromJSON(r.File, config)
		if err != nil {
			return nil, err
		}
		return []string{wallet.Address(), hex.EncodeToString(wallet.Seed())}, nil
	case "writeWallet":
		seed, err := hex.DecodeString(r.Seed)
		if err != nil {
			return nil, err
		}
		account, err := nkn.NewAccount(seed)
		if err != nil {
			return nil, err
		}
		wallet, err := nkn.NewWallet(account, config)
		if err != nil {
			return nil, err
		}
		return wallet.ToJSON()
	}
	return nil, fmt.Errorf("no operation %q", r.Op)
}
