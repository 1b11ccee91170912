"""What `meshd doctor` looks at, and what it thinks of it.

finding    what is said of one thing
server     looks at Redis and at the queues in it
machine    looks at the host: units, files, controllers, disk
handlers   loads the handlers of a kind as a runner would
verdicts   judges what was seen of Redis; looks at nothing
bearing    judges what was seen of the host; looks at nothing
"""
