"""ISO 20022 messages: payment files that come in, and the status reports and account statements that go out. See decision record 0033."""
