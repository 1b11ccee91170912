"""What meshd says to systemd and asks of it; nothing here knows Redis or tasks."""
