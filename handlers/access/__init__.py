"""Who may do what: roles, the table of permissions, and the check before Stripe is called."""
