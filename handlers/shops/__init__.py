"""Shops: settings, receipts, invitations."""
