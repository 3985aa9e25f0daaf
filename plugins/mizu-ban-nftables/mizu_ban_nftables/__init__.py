"""Bans of Mizu as sets of nftables."""
