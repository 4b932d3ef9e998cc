"""What only developers need: the host, Azurite and a stand-in for the cloud. Never deployed."""
