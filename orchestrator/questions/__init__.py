"""Questions to a human: who asks, how a question is shown, and what an answer means."""
