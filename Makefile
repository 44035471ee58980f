# spillway - one Makefile, no recursion into folders, no configure
#
# Everything is built below build/$(V)/: V=release (default), asan, cov.  `make help` lists the targets.

V ?= release
B := build/$(V)
PREFIX ?= /usr/local
DESTDIR ?=
QMAIL_HOME ?= /var/qmail

CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
PKGS := libconfig libevent_core jansson sqlite3
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)

# What gcc 12 and clang 14 both take.  -Werror only where a new compiler can't break a user's build.
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wcast-qual -Wwrite-strings -Wvla -Wformat=2 -Wundef -Wimplicit-fallthrough -Wconversion
ifdef CI
WARN += -Werror
endif
CPPFLAGS := -D_GNU_SOURCE -I. $(EXTRA_CPPFLAGS)
HARDEN := -fstack-protector-strong -fPIE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
OPT_release := -O2 -g $(HARDEN)
OPT_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_cov := -O0 -g --coverage
LINK_release := -pie -Wl,-z,relro,-z,now
LINK_asan := -fsanitize=address,undefined
LINK_cov := --coverage
CFLAGS := -std=c11 $(OPT_$(V)) $(WARN)
LDFLAGS := $(LINK_$(V))

# Plugins are executed at every SMTP command: static, small, with musl where it is (a fifth of the start-up
# cost of a static glibc program).
MUSL := $(shell command -v musl-gcc 2>/dev/null)
PLUGIN_CC := $(if $(MUSL),$(MUSL),$(CC))
PLUGIN_CFLAGS := -std=c11 -Os -DCLOCK_ONCE -fno-pie -fno-stack-protector \
	-fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections $(WARN)
PLUGIN_LDFLAGS := -static -no-pie -s -Wl,--gc-sections,-z,norelro,-z,noseparate-code,--build-id=none
# musl-gcc's headers need no _FORTIFY_SOURCE; sanitizers can't be static, so asan builds a dynamic one with gcc.
ifneq ($(V),release)
PLUGIN_CC := $(CC)
PLUGIN_CFLAGS := $(CFLAGS) -DPLUGIN_NO_HANDLERS
PLUGIN_LDFLAGS := $(LDFLAGS)
endif

LIB := $(patsubst %.c,$(B)/%.o,$(wildcard lib/*.c))
PROBES := $(patsubst %.c,$(B)/%.o,$(wildcard probes/*.c))
ACTIONS := $(patsubst %.c,$(B)/%.o,$(wildcard actions/*.c))
MAINS := controller/spillwayd.c controller/spillway.c
# What only the command needs.
CLI := $(wildcard $(addprefix controller/,client.c offline.c show.c past.c doctor*.c setup*.c))
CONTROLLER := $(patsubst %.c,$(B)/%.o,$(filter-out $(MAINS) $(CLI),$(wildcard controller/*.c)))
PLUGIN := $(patsubst %.c,$(B)/plugin/%.o,$(wildcard plugins/*.c) \
	$(addprefix lib/,clock.c text.c ip.c num.c siphash.c fdio.c state.c flag.c record.c rundir.c smtp.c))
ARCHIVES := $(B)/controller.a $(B)/probes.a $(B)/actions.a $(B)/lib.a
LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

STANDIN := $(patsubst tests/standin/%.c,$(B)/standin/%,$(wildcard tests/standin/*.c))
UNIT := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/test_*.c))

# Keep the objects that rules chain through.
.SECONDARY:

# `make Q=` shows whole command lines.
Q ?= @
say = @echo " "

.PHONY: all
all: $(B)/spillwayd $(B)/spillway $(B)/spillway-plugin ## build everything that is installed

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/plugin/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $< "(plugin)"
	$(Q)$(PLUGIN_CC) $(CPPFLAGS) $(PLUGIN_CFLAGS) -MMD -MP -c $< -o $@

$(B)/lib.a: $(LIB)
$(B)/probes.a: $(PROBES)
$(B)/actions.a: $(ACTIONS)
$(B)/controller.a: $(CONTROLLER)
%.a:
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/spillway: $(patsubst %.c,$(B)/%.o,$(CLI))
$(B)/spillwayd $(B)/spillway: $(B)/%: $(B)/controller/%.o $(ARCHIVES)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(filter %.o,$^) $(ARCHIVES) -o $@ $(LIBS)

$(B)/spillway-plugin: $(PLUGIN)
	$(say) LD $@
	$(Q)$(PLUGIN_CC) $(PLUGIN_CFLAGS) $(PLUGIN_LDFLAGS) $^ -o $@

$(B)/standin/%: $(B)/tests/standin/%.o $(B)/lib.a
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $< $(B)/lib.a -o $@

SIM := $(B)/tests/sim/sim.o
$(B)/unit/%: $(B)/tests/unit/%.o $(SIM) $(ARCHIVES)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $< $(SIM) $(ARCHIVES) -o $@ -lcmocka $(LIBS)

# --- tests -----------------------------------------------------------------------------------------

# Libraries that tests preload into the daemon.
FAULT := $(patsubst tests/fault/%.c,$(B)/fault/%.so,$(wildcard tests/fault/*.c))
$(B)/fault/%.so: tests/fault/%.c
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CPPFLAGS) -std=c11 -O1 -g -fPIC -shared $(WARN) $< -o $@ -ldl

# Plugins that crash on purpose, each in its own way: for the guards.
CRASH := $(foreach n,1 2 3 4 5,$(B)/crash/spillway-plugin-$(n))
$(B)/crash/spillway-plugin-%: $(filter-out $(B)/plugin/plugins/main.o,$(PLUGIN)) plugins/main.c
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(PLUGIN_CC) $(CPPFLAGS) $(PLUGIN_CFLAGS) -DPLUGIN_CRASH=$* -c plugins/main.c -o $@.o
	$(Q)$(PLUGIN_CC) $(PLUGIN_CFLAGS) $(PLUGIN_LDFLAGS) $@.o $(filter-out $(B)/plugin/plugins/main.o,$(PLUGIN)) -o $@

# Fuzz targets: with libFuzzer (make fuzz), and without one to replay the corpus (make check).
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/replay/%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/replay.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ -o $@ $(LIBS)

build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $< "(fuzz)"
	$(Q)clang $(CPPFLAGS) $(PKG_CFLAGS) -std=c11 -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
		-fno-sanitize-recover=all -MMD -MP -c $< -o $@
FUZZ_OBJECTS := $(patsubst %.c,build/fuzz/%.o,$(wildcard lib/*.c probes/*.c actions/*.c) \
	$(filter-out $(MAINS) $(CLI),$(wildcard controller/*.c)))
build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o $(FUZZ_OBJECTS)
	$(say) LD $@
	$(Q)clang -fsanitize=fuzzer,address,undefined $^ -o $@ $(LIBS)

.PHONY: test-programs
test-programs: all $(STANDIN) $(UNIT) $(FAULT) $(CRASH) $(addprefix $(B)/replay/,$(FUZZ))

.PHONY: clean
clean: ## remove build/
	rm -rf build

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | sort | expand -t 16

-include $(shell find $(B) -name '*.d' 2>/dev/null)
