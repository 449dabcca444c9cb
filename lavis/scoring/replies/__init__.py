"""Replies with times: which of them were said while they were true."""
