"""The end-to-end encryption between user and provider: a TLS 1.3 control channel and data keys from it."""
