// Copies from memory to shared memory that go on while their thread computes
// (cp.async).
#pragma once
#include "device.h"

#ifndef EMULATE
// copy16 starts the copy of 16 bytes to shared memory, zeros where there are none;
// copy4 of 4.
DEVICE void copy16(SharedAddress to, const void *from) { asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory"); }
DEVICE void copy16(SharedAddress to, const void *from, bool there) {
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}
DEVICE void copy4(SharedAddress to, const void *from, bool there) {
	asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(there ? 4 : 0) : "memory");
}
// awaitCopies waits for all copies of this thread.
DEVICE void awaitCopies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// closeCopies makes a batch of the copies started since the last, perhaps of
// none; awaitBatches waits until no more than LEFT batches are under way.
DEVICE void closeCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> DEVICE void awaitBatches() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }
#else
DEVICE void copy16(SharedAddress to, const void *from) { copy16(to, from, true); }
DEVICE void closeCopies() { machine::closeCopies(); }
template <int LEFT> DEVICE void awaitBatches(HERE) { machine::awaitCopies(LEFT, file, line); }
#endif
