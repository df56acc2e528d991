"""Who a person is, which permissions they have, and the check before Stripe is called."""
