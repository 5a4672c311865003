# find_package(vaekl): the target vaekl::vaekl, and vaekl::static for the archive. Both know their header.
# Relocatable: paths are found from where this file lies, in PREFIX/lib*/cmake/vaekl or PREFIX/share/vaekl/cmake.

set(_vaekl_libdirs "${CMAKE_CURRENT_LIST_DIR}/../..")
get_filename_component(_vaekl_prefix "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
while(NOT EXISTS "${_vaekl_prefix}/include/vaekl.h")
  get_filename_component(_vaekl_above "${_vaekl_prefix}" DIRECTORY)
  if(_vaekl_above STREQUAL _vaekl_prefix)
    set(vaekl_FOUND FALSE)
    set(vaekl_NOT_FOUND_MESSAGE "no include/vaekl.h above ${CMAKE_CURRENT_LIST_DIR}")
    return()
  endif()
  set(_vaekl_prefix "${_vaekl_above}")
endwhile()
list(APPEND _vaekl_libdirs "${_vaekl_prefix}/lib" "${_vaekl_prefix}/lib64")

find_library(vaekl_SHARED_LIBRARY NAMES libvaekl.so libvaekl.dylib PATHS ${_vaekl_libdirs} NO_DEFAULT_PATH)
find_library(vaekl_STATIC_LIBRARY NAMES libvaekl.a PATHS ${_vaekl_libdirs} NO_DEFAULT_PATH)
mark_as_advanced(vaekl_SHARED_LIBRARY vaekl_STATIC_LIBRARY)

if(vaekl_SHARED_LIBRARY AND NOT TARGET vaekl::vaekl)
  add_library(vaekl::vaekl SHARED IMPORTED)
  set_target_properties(vaekl::vaekl PROPERTIES
    IMPORTED_LOCATION "${vaekl_SHARED_LIBRARY}"
    IMPORTED_SONAME libvaekl.so.0
    INTERFACE_INCLUDE_DIRECTORIES "${_vaekl_prefix}/include")
endif()
if(vaekl_STATIC_LIBRARY AND NOT TARGET vaekl::static)
  add_library(vaekl::static STATIC IMPORTED)
  set_target_properties(vaekl::static PROPERTIES
    IMPORTED_LOCATION "${vaekl_STATIC_LIBRARY}"
    INTERFACE_LINK_LIBRARIES "gcc_s;util;rt;pthread;m;dl;c"
    INTERFACE_INCLUDE_DIRECTORIES "${_vaekl_prefix}/include")
endif()
if(NOT TARGET vaekl::vaekl AND TARGET vaekl::static)
  add_library(vaekl::vaekl INTERFACE IMPORTED)
  set_target_properties(vaekl::vaekl PROPERTIES INTERFACE_LINK_LIBRARIES vaekl::static)
endif()
if(NOT TARGET vaekl::vaekl)
  set(vaekl_FOUND FALSE)
  set(vaekl_NOT_FOUND_MESSAGE "neither libvaekl.so nor libvaekl.a in ${_vaekl_libdirs}")
endif()
