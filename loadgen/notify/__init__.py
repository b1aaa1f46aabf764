"""Notifications: short messages about runs and gates to webhooks, Slack and e-mail. They never delay a run.

`settings` describes the channels of `loadgen.toml`, `event` the events, `message_texts` the texts of messages,
`outbox` decides which message is sent when, `transports` sends, and `notifier` has a thread for each channel.
"""
