"""Tests of nconnect.host; those marked netns change network namespaces of their own only."""
