// What a client of the official JavaScript SDK does on the block chain: more operations of ../driver.py.
"use strict";

const nkn = require("nkn-sdk");

// `client()` is the client that has joined, `decode(request)` the content of a message.
module.exports = (client, decode) => ({
  async balance(request) {
    return (await client().getBalance(request.wallet)).toString();
  },

  async nonce(request) {
    return client().getNonce(request.wallet);
  },

  async transfer(request) {
    return client().transferTo(request.wallet, request.amount, { fee: request.fee });
  },

  async registerName(request) {
    return client().registerName(request.name);
  },

  async transferName(request) {
    return client().transferName(request.name, request.recipient);
  },

  async deleteName(request) {
    return client().deleteName(request.name);
  },

  async registrant(request) {
    const { registrant, expiresAt } = await client().getRegistrant(request.name);
    return [registrant, expiresAt];
  },

  async subscribe(request) {
    return client().subscribe(request.topic, request.duration, client().identifier, request.meta);
  },

  async unsubscribe(request) {
    return client().unsubscribe(request.topic, client().identifier);
  },

  async subscribers(request) {
    return (await client().getSubscribers(request.topic, { meta: true })).subscribers;
  },

  async subscribersCount(request) {
    return client().getSubscribersCount(request.topic);
  },

  async subscription(request) {
    const { meta, expiresAt } = await client().getSubscription(request.topic, request.subscriber);
    return [meta, expiresAt];
  },

  async publish(request) {
    await client().publish(request.topic, decode(request));
  },

  // The channel's number must fit a double: the SDK's own random one loses digits on its way to protobuf.
  async nanoPay(request) {
    const height = (await client().getLatestBlock()).height;
    const wallet = client().defaultClient.wallet;
    const payment = await wallet.createOrUpdateNanoPay(request.wallet, request.amount, height + 100, 7);
    return Buffer.from(payment.serializeBinary()).toString("hex");
  },

  async openWallet(request) {
    const wallet = nkn.Wallet.fromJSON(request.file, { password: request.password });
    return [wallet.address, wallet.getSeed()];
  },

  async writeWallet(request) {
    const { seed, password, version } = request;
    return JSON.stringify(new nkn.Wallet({ seed, password, version }));
  },
});
