"""Names of what lies behind a provider: which there are, and the resolver that knows them."""
