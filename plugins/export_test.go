package plugins

// NewFake is the scripted backend of this package's tests.
var NewFake = newFake
