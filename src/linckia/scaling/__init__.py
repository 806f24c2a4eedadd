"""The autoscaler: watches what waits, starts and ends nodes through a provider. Decisions are `core/autoscaling`'s."""
