"""Linux: the TUN device, and the host's network as a desired state that is applied, compared and undone.

Start with `plans.user_state` or `plans.gateway_state`, and give it to `state.HostManager`.
"""
